package connectors

// DeadLetter is a record that cannot be processed, with all that is needed to find, repair and replay it.
type DeadLetter struct {
	// UID is the step that refused the record.
	UID    string
	Reason string
	At     Coordinates
	// TimestampMS is the event time of the record, Unix ms, or NoTimestamp.
	TimestampMS int64
	// Key and Raw are the bytes as they came: of a source, the record's; of a later step, the encoding of its input by the edge's
	// Serde.
	Key []byte
	Raw []byte
}
