package model

// The fixed names of everything that the pipeline reads and writes, so that anyone can audit a run from outside.
const (
	DecisionsTable  = "decisions" // hash key id (S), numeric version
	CustomerIndex   = "by-customer"
	VariablesTable  = "variables" // hash key customer (S), numeric version
	ProfilesTable   = "profiles"  // hash key customer (S)
	DecisionsTopic  = "decisions"
	DeadLetterTopic = "decisions.dead-letter"
	Subject         = "decisions-value"
)
