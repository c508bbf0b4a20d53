package dynamodbstreams

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// stateVersion is the version of the enumerator's state that this release writes.
const stateVersion = 1

// lineageState is the enumerator's part of a checkpoint.
type lineageState struct {
	Version   int          `json:"version"`
	StreamARN string       `json:"stream_arn"`
	StartedMS int64        `json:"started_ms"`
	FromMS    int64        `json:"from_ms,omitempty"`
	Listings  int64        `json:"listings"`
	Shards    []shardState `json:"shards"` // sorted by id
}

type shardState struct {
	ID        string `json:"id"`
	Parent    string `json:"parent,omitempty"`
	Phase     string `json:"state"`
	CreatedMS int64  `json:"created,omitempty"`
	ListedMS  int64  `json:"listed"`
	Missing   int    `json:"missing,omitempty"`
	// Released says that it waits for nothing but to be handed over: its parent is gone.
	Released bool `json:"released,omitempty"`
}

// encode is the state for a checkpoint.
func (l *lineage) encode() ([]byte, error) {
	st := lineageState{Version: stateVersion, StreamARN: l.arn, StartedMS: l.startedMS, FromMS: l.fromMS, Listings: l.listings, Shards: []shardState{}}
	for _, id := range sortedKeys(l.shards) {
		s := l.shards[id]
		st.Shards = append(st.Shards, shardState{
			ID: id, Parent: s.parent, Phase: phaseNames[s.phase], CreatedMS: s.createdMS, ListedMS: s.listedMS, Missing: s.missing, Released: s.ready,
		})
	}
	return json.Marshal(st)
}

// decodeLineage reads what encode wrote.
func decodeLineage(src []byte, interval time.Duration) (*lineage, error) {
	var st lineageState
	if err := json.Unmarshal(src, &st); err != nil {
		return nil, fmt.Errorf("dynamodbstreams: the enumerator's state in the checkpoint cannot be read: %w", err)
	}
	if st.Version < 1 || st.Version > stateVersion {
		return nil, fmt.Errorf("dynamodbstreams: the enumerator's state in the checkpoint has version %d, this release reads 1 to %d; use a newer release", st.Version, stateVersion)
	}
	l := newLineage(st.StreamARN, st.StartedMS, st.FromMS, interval)
	l.listings = st.Listings
	for _, s := range st.Shards {
		p := slices.Index(phaseNames[:], s.Phase)
		if p < 0 || s.ID == "" || l.shards[s.ID] != nil {
			return nil, fmt.Errorf("dynamodbstreams: the enumerator's state in the checkpoint holds shard %q twice or with unknown state %q", s.ID, s.Phase)
		}
		sh := &shard{id: s.ID, parent: s.Parent, phase: phase(p), createdMS: s.CreatedMS, listedMS: s.ListedMS, missing: s.Missing}
		l.add(sh)
		// Its parent may be listed again: what was released stays so.
		if s.Released {
			l.release(sh)
		}
	}
	return l, nil
}

// release makes a shard ready whatever is before it.
func (l *lineage) release(s *shard) {
	if orphans, ok := l.orphans[s.parent]; ok {
		if orphans = slices.DeleteFunc(orphans, func(o *shard) bool { return o == s }); len(orphans) == 0 {
			delete(l.orphans, s.parent)
		} else {
			l.orphans[s.parent] = orphans
		}
	}
	l.offer(s)
}
