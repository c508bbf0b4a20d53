// Package checkpoint makes a running job restartable: it decides when checkpoints are taken and when they are complete, keeps them in a
// directory or an S3 bucket, and distributes their content over the subtasks of the next start, at any parallelism.
//
// # Protocol
//
//  1. Lead reads HEAD and writes it back with the epoch raised by one, on the condition that nobody else has. From then on every earlier
//     leader is fenced: its next conditional write fails, and it stops.
//  2. The Coordinator returns Trigger. The runtime snapshots the enumerators of the sources, then sends barriers. Each task copies its
//     state when its barriers are aligned, writes files through Journal.Files, and acknowledges.
//  3. When every task has acknowledged, Journal.Complete writes the manifest and then puts its name into HEAD by one conditional write.
//     That write is the completion: before it nothing has happened, after it the checkpoint is what a restart begins from.
//  4. Only then are committables committed and tasks told. A restart commits those of the newest completed checkpoint again before it
//     does anything else, so committing must be idempotent.
//  5. Only then is the next manifest written, and Journal.Prune takes old ones out of HEAD and afterwards deletes what no manifest
//     names any more.
//
// Checkpoints run one at a time, or as many as Config.MaxConcurrent allows, and complete one after the other. Tasks live until the job ends, so the end of bounded input is a checkpoint like any other. A savepoint
// is a checkpoint that is pinned: its output is committed too, so it is a recovery point like any other.
//
// # Layout
//
//	HEAD                        epoch, last id, retained checkpoints, pinned savepoints; the only object that is overwritten
//	ckpt/<epoch>-<id>-<random>  one manifest for each checkpoint
//	data/<epoch>-<id>-<random>  state: content and a table of checksums of its chunks (sums.go)
//	probe-…, tmp/…              scratch objects of the check that Lead makes; files that Dir is writing
//
// Names are never used twice, so a stopped process that wakes up cannot overwrite anything. An object that no manifest in HEAD names is
// deleted only when its epoch is over, or its epoch is the current one and its id is not above the newest completed: what is being
// written now is never touched, and no clock is asked.
//
// # Failures
//
//   - A task that declines, a checkpoint that times out, a storage that fails: the checkpoint is given up as often as Config.TolerableFailures
//     allows. Otherwise, and when a commit fails, the attempt fails and the job restarts from the newest completed checkpoint. There is no other
//     recovery path.
//   - A lost answer of the storage: a write is tried again under the same condition, and what is there afterwards decides whether it was
//     ours. When the storage stays silent for a minute the outcome is unknown (ErrUnknownOutcome) and the next Lead finds it out.
//   - Two leaders: one of them gets ErrFenced. It must stop; its files are deleted later.
//   - A damaged object: HEAD, manifests and state files carry SHA-256 checksums, state a CRC32C for each 64 KiB as well, and a mismatch is a
//     CorruptError that names the object and the place. Nothing goes back to an older checkpoint by itself, since output after it may be committed already.
//   - A store that ignores If-None-Match or If-Match is refused by Lead.
//
// What is not protected: somebody who deletes or edits objects on purpose, a disk that acknowledges writes which it has not made, and a
// shared file system whose flock or hard links do not work between machines.
package checkpoint
