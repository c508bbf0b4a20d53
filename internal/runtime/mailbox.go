package runtime

import (
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/connectors"
)

// mailbox takes messages for a task from the job's goroutine, which never waits for a task.
type mailbox struct {
	mu      sync.Mutex
	letters []letter
	full    atomic.Bool
	wake    chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(l letter) {
	m.mu.Lock()
	m.letters = append(m.letters, l)
	m.full.Store(true)
	m.mu.Unlock()
	m.signal()
}

// signal wakes the task if it waits, or is about to.
func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns all letters in the order they were put.
func (m *mailbox) take() []letter {
	if !m.full.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.letters
	m.letters = nil
	m.full.Store(false)
	return l
}

// letter is one message to a task.
type letter any

// The letters.
type (
	// triggerLetter makes a source task take checkpoint id and send the barrier.
	triggerLetter struct {
		id    int64
		stop  bool // the job stops after it: nothing is emitted behind the barrier
		drain bool // the source ends first: timers and windows fire
	}
	// completedLetter says that checkpoint id has completed.
	completedLetter struct{ id int64 }
	// abortedLetter says that checkpoint id was given up.
	abortedLetter struct{ id int64 }
	// splitsLetter hands splits to a source task; last says that no more will come.
	splitsLetter struct {
		splits []connectors.Split
		last   bool
	}
	// knownLetter says that the enumerator knows the split to be finished.
	knownLetter struct{ split string }
	// whyLetter asks for what only the task knows of itself.
	whyLetter struct{ reply chan<- told } // capacity 1
)
