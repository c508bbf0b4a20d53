package runtime

// pointwise reports whether subtask i of e.From sends to subtask i of e.To alone.
func pointwise(e *Edge) bool { return e.Kind == Forward && e.From.Parallelism == e.To.Parallelism }

// senders is the range [first, end) of subtasks of e.From that subtask r of e.To hears. The sides of a Local edge are dealt out evenly: the wider
// side's subtasks in runs to one of the other side each.
// Source: Flink DistributionPattern.POINTWISE (EdgeManagerBuildUtil).
func (e *Edge) senders(r int) (first, end int) {
	from, to := e.From.Parallelism, e.To.Parallelism
	switch {
	case pointwise(e):
		return r, r + 1
	case e.Kind == Local && from >= to:
		return r * from / to, (r + 1) * from / to
	case e.Kind == Local:
		first = r * from / to
		return first, first + 1
	}
	return 0, from
}

// receivers is the range [first, end) of subtasks of e.To that subtask s of e.From sends to: those that hear it, see senders.
func (e *Edge) receivers(s int) (first, end int) {
	from, to := e.From.Parallelism, e.To.Parallelism
	switch {
	case pointwise(e):
		return s, s + 1
	case e.Kind == Local && from >= to:
		first = ((s+1)*to - 1) / from
		return first, first + 1
	case e.Kind == Local:
		return (s*to + from - 1) / from, ((s+1)*to + from - 1) / from
	}
	return 0, to
}

// fanIn is the number of senders that subtask r of e.To hears.
func fanIn(e *Edge, r int) int {
	first, end := e.senders(r)
	return end - first
}
