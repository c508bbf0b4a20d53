// Package dynamodbtest is DynamoDB with DynamoDB Streams inside the test process: tables, expressions, batches,
// transactions and streams, spoken over real HTTP to the ordinary AWS client.
//
//	s := dynamodbtest.Start(dynamodbtest.Options{})
//	defer s.Close()
//	client := s.Client() // *dynamodb.Client
//
// # What it is for
//
// It shows what no emulator shows on demand: shards that split and roll over, iterators that expire, records that are
// trimmed, listings that are inconsistent for a while, throttled partitions, unprocessed items, answers that get lost after
// the write was done. Each of these is a control of [Server] and happens when the test says so, by the clock the test gives.
//
// # Two ways to reach it
//
// [Start] listens on a port of 127.0.0.1. [New] opens no socket: its clients call the handler directly, so that a whole
// system runs inside testing/synctest, where hours pass at once.
//
// # What is like the service
//
// Item and key sizes, exact numbers of 38 digits, expression grammar and reserved words, the refusal of a whole batch for one
// bad item, page limits, capacity units, consistent error names and texts, stream records (none for a write that
// changes nothing), sequence numbers of 21 digits, creation times in whole seconds, 24 h of retention, 15 min of iterator
// life.
//
// # What is not
//
// Credentials are not checked. Tables and streams are ACTIVE at once. Reads are always consistent. PartiQL, backups,
// global tables, tags, legacy parameters (Expected, KeyConditions, …) and vector indexes are refused with
// UnknownOperationException or ValidationException. Capacity is unlimited until [Server.SetLimits] says otherwise. Nothing is
// kept on disk.
//
// Source of the rules: the API reference and developer guide of DynamoDB; where only the running service shows a text,
// the text that its clients commonly report.
package dynamodbtest
