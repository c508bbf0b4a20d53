// Package dynamodb is the sink that writes records as items of a DynamoDB table.
//
// # Guarantees
//
// With [Options.Version] the table ends up with the newest version of each item, whatever is repeated, delayed or replayed: effectively
// once. Without it, the table ends up with the last write of each item in the order of the stream (at least once): during a replay
// older values are visible for a moment, and a write that the network delivers after its time-out can overwrite a newer one.
//
// When a checkpoint completes, every record before it is in the table, or became a dead letter, or was overtaken by a later record of its
// key. Additive updates (counters) are no matter for this sink: repeat them and they count twice. Keep the sum in state
// and write the total.
//
// # How it writes
//
// Each key has a lane: one write in flight, one waiting, a later one takes the waiting one's place. A write goes out at once when a call
// slot is free; while all are busy, writes gather, and without versions they then leave in batches of up to 25. So an idle sink adds
// no delay, and a busy one batches by itself.
//
// A batch that the service refuses as a whole is halved until the item at fault is alone: it becomes a dead letter and all others are
// written. A throttled table slows all calls; a hot key range slows its keys only.
//
// # Files
//
// core.go decides (lanes, batches, retries) and limiter.go paces, both plain values; writer.go and call.go carry out; classify.go
// judges errors; size.go measures items; marshal.go makes items of structs.
package dynamodb
