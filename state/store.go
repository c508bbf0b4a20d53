package state

// Store is the ordered byte store beneath the decoded tables of one operator in one subtask. It is disposable: whatever it keeps on
// disk belongs to one attempt and is never read by another.
type Store interface {
	Close() error
}
