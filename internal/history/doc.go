// Package history holds a test: random histories of one stateful operator, through changes, checkpoints, restores, changes of parallelism, crashes and
// faults of the storage, against a map that says what the state must be. It takes the parts as they are, without the runtime: keyed state
// on Pebble over a file system that loses what was not synced, the journal of checkpoints, the restore plan.
//
//	go test ./internal/history -run Histories -history.runs 100000
//	go test ./internal/history -run Histories -history.seed 17 -v
package history
