package state

// Footprint is how many keys and records of expiry the decoded tables of s hold, for tests of what goes away by itself.
func (s *Keyed[K]) Footprint() (keys, records int) {
	for _, m := range s.members {
		if f, ok := m.(interface{ footprint() (int, int) }); ok {
			k, r := f.footprint()
			keys, records = keys+k, records+r
		}
	}
	return keys, records
}

func (c *cells[K, V]) footprint() (int, int)   { return c.live(), c.wheel.records }
func (t *objects[K, O]) footprint() (int, int) { return t.live(), t.wheel.records }
