// Package file archives records as Avro container or Parquet files, in a directory or in an S3 bucket, exactly once, and reads such
// archives back.
//
// # Layout
//
//	<root>/dt=2026-11-24/hh=07/part-<checkpoint>-<subtask>-<n>-<random>.avro    what readers see
//	<root>/_manifests/<uid>/<attempt>/<checkpoint>.json                          what was committed
//	<root>/_staging/<uid>/<attempt>/<subtask>-<random>                           what is being written
//
// The hour is that of the record's event time, in UTC. Query engines that follow Hive's conventions (Athena, Spark, Trino) skip names that
// begin with an underscore; engines that expand globs (DuckDB: <root>/**/*.parquet) do so because staged files have no extension.
//
// # How a file becomes visible
//
// A writer fills whole files under _staging and has every one of them stored durably before it acknowledges the barrier of checkpoint N.
// What it hands to the checkpoint is the list of these files. When N has completed, the committer
//
//  1. creates the manifest of N by a conditional write: it exists from then on or not, whoever tried, however often;
//  2. gives each listed file its visible name, by rename in a directory and by copy and delete in S3. The name is fixed by the
//     list, so doing it again changes nothing.
//
// A crash at any point leaves either no trace that readers see (before 1) or work that the next Commit or Recover finishes (after 1).
//
// # Guarantees
//
//   - A file below dt=… is complete, never changes, and holds records of one completed checkpoint; each record is in exactly one of
//     them. No reader ever sees half a file or a file twice.
//   - When Commit(N) has returned, all files of N are visible. While it runs, and after a crash in its middle until the job has
//     started again, some of them may be visible and others not yet: a glob over dt=… sees each file once but not each checkpoint
//     as a whole. Who needs a checkpoint as a whole reads the manifests (SourceOptions.Committed): they are authoritative, and a file that
//     a manifest lists is either at its visible name or still at its staged one.
//   - Output of a job that is started again from an older checkpoint than its newest is not taken back: the files of checkpoints after
//     the older one stay visible and the replay adds its own. Remove the manifests of those checkpoints and the files they list before
//     such a start.
//   - A fresh start in an archive that holds files adds to it.
//   - Two jobs may share a root when the uids of their sinks differ.
//
// # Metrics
//
//	millrace_file_sink_staged_files_total, _staged_bytes_total    per subtask: files stored durably, whether committed or not
//	millrace_file_sink_open_files, _buffered_bytes                per subtask: what it holds now
//	millrace_file_sink_dead_letters_total                         per subtask: records that no file can hold
//	millrace_file_sink_committed_files_total, _committed_records_total
//	                                                              what became visible; a commit repeated after a restore counts again
//	millrace_file_sink_orphans_removed_total                      staged files that no checkpoint had committed
//
// # Orphans
//
// Files of attempts that never reached a completed checkpoint stay under _staging until a start of the job finds them older than
// Options.OrphanGrace; it never removes what a manifest lists.
package file
