// Package kafka reads from and writes to Apache Kafka topics.
//
// # Source
//
// A split is one partition, assigned by hand: there is no consumer group and no rebalance. The position of a split is the next
// offset with the leader epoch of the record before it; it lives in the checkpoint, and a restored reader goes on exactly there. Where
// the log has lost what the position needs (retention, truncation, a topic deleted and created again) the job fails, unless
// SourceOptions.OnDataLoss allows to go on. A committed group offset, if asked for, is for monitoring only and is never read.
//
// # Sink
//
// AtLeastOnce writes with the idempotent producer and flushes at every barrier; a record is visible within milliseconds, and records
// written since the last completed checkpoint are written again after a restart. The header millrace-dedupe-id says where a record came
// from, so that a consumer can drop the repetition.
//
// ExactlyOnce writes in transactions. The transaction of a checkpoint is closed for writing at the barrier, described by a committable
// in the checkpoint and committed after the checkpoint has completed, by a bare EndTxn request that any process can send: a crash
// after the completion loses nothing. Consumers must read with isolation level read_committed and see records after the next
// checkpoint. The window of the guarantee is SinkOptions.TransactionTimeout: when more time passes between the first record
// of a transaction and its commit (checkpoint interval + outage + restore), the broker aborts the transaction. That is
// reported by name as LostTransactionsError, never passed over.
//
// # How a transaction is told to be committed
//
// Each subtask owns three transactional ids, <prefix>-<subtask>-0 to -2. The rule that makes recovery decidable: the id of a
// transaction that belongs to the newest completed checkpoint is not used again before a newer checkpoint has completed. So, after a
// restore of the newest checkpoint, an EndTxn that is refused means that the transaction was aborted. After the restore of an older
// savepoint the ids have moved on; then the committable's witness, the partition and offset of one of the transaction's records, decides:
// the first transaction marker of that producer behind that offset is a commit or an abort.
//
// # Requests of dead attempts, and processes that wake up
//
// At its start a job takes every id of its prefix over, also those of subtasks that it does not have any more. From then on brokers
// refuse the records and EndTxn requests of earlier attempts, however late they arrive, and a writer of an earlier attempt that still runs
// fails instead of taking its ids back. One request cannot be refused: to the transaction coordinator, whoever asks last for a producer id
// (InitProducerID) is the owner. When such a request of a dead process overtakes the start of the next attempt, that attempt fails and is
// started again; when it also overtakes a record that this attempt has written and arrives before the commit, the transaction is
// aborted, and reported by LostTransactionsError if its checkpoint has completed. Under transaction.version 2 writers send the
// request only when they start, and once more for the id of the restored transaction; under version 1 at each checkpoint.
package kafka
