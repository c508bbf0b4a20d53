package serde

// Incompatibility is one reason why data of a writer's schema cannot be read with a reader's.
type Incompatibility struct {
	// Path is the field in the reader's schema, from its outermost record: "profile.limit", elements as "[]", map values as "{}"; ""
	// for the outermost type itself.
	Path string
	// Rule is the broken rule, one of the Rule constants.
	Rule string
	// Detail says what both sides have.
	Detail string
}

// Error is "field profile.limit: no default and missing in the writer (missing field)".
func (i Incompatibility) Error() string {
	where := "field " + i.Path
	if i.Path == "" {
		where = "outermost type"
	}
	return where + ": " + i.Detail + " (" + i.Rule + ")"
}
