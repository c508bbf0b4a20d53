// Package savepoint reads, makes and changes savepoints without a job.
//
// A portable savepoint holds everything that a completed checkpoint holds (keys, values, timers, watermarks, source positions, committables of
// sinks) in a form that depends on neither backend, application, parallelism nor number of key groups: Avro container files and a manifest. It is
// made from a checkpoint, beside the job, which does nothing for it:
//
//	s, err := savepoint.Open(ctx, "s3://bucket/job")          // the newest checkpoint of a storage, or any checkpoint or savepoint
//	uri, err := s.Write(ctx, checkpoint.Dir("/backup/monday"), savepoint.Options{})
//
// What Open has opened can be walked through (Entries, Values, MapEntries, Timers), summed up (Inspect), checked (Verify) and compared with another
// (Compare). A Builder makes new savepoints, from nothing or out of another one with changes. The command millrace savepoint is a thin layer above it.
//
// Keys and values pass through as their codecs have encoded them, each with the schema it was written with: a savepoint of a program that knows six
// versions of a schema holds values of all six.
// Source of the idea: Flink's canonical savepoints and its State Processor API.
package savepoint
