package state_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state"
)

func ExampleBudget() {
	b := state.NewBudget(1000)
	idle, busy := b.Share(), b.Share()
	fmt.Println(idle.Excess(900), b.Used()) // the others leave it that much
	fmt.Println(busy.Excess(200), b.Used()) // below its fair share: the other has to make room
	fmt.Println(idle.Excess(900))           // and does so at its next look
	fmt.Println(idle.Excess(800), b.Used())
	idle.Close()
	fmt.Println(busy.Fair(), busy.Excess(1001))
	// Output:
	// 0 900
	// 0 1100
	// 100
	// 0 1000
	// 1000 1
}

// TestBudget: stores that grow and shrink as they like, and do what their shares say, stay within budget and overdraft; nobody is pressed below
// an eighth of a fair share, and below its fair share only when the overdraft is used up.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.Int64Range(1, 10_000).Draw(t, "bytes")
		b := state.NewBudget(bytes)
		type store struct {
			*state.Share
			used int64
		}
		var stores []*store
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(stores) == 0 || len(stores) < 5 && rapid.IntRange(0, 9).Draw(t, "open") == 0 {
				stores = append(stores, &store{b.Share(), 0})
			}
			i := rapid.IntRange(0, len(stores)-1).Draw(t, "store")
			s := stores[i]
			if rapid.IntRange(0, 19).Draw(t, "close") == 0 {
				s.Close()
				s.Close()
				stores = append(stores[:i], stores[i+1:]...)
				continue
			}
			before := s.used
			s.used = rapid.Int64Range(0, max(1, before+bytes/4)).Draw(t, "used")
			var total int64
			for _, o := range stores {
				total += o.used
			}
			free := s.Excess(s.used)
			if fair := bytes / int64(len(stores)); s.Fair() != fair {
				t.Fatalf("the fair share of %d stores is %d, want %d", len(stores), s.Fair(), fair)
			} else if total <= bytes && free != 0 || free < 0 || free > max(0, s.used-fair/8) || total <= bytes+bytes/8 && free > max(0, s.used-fair) {
				t.Fatalf("%d of %d bytes are used, %d by a store of %d, which has to free %d", total, bytes, s.used, len(stores), free)
			}
			s.used -= free
			if over := total - free - bytes - bytes/8; over > 0 && s.used > max(1, s.Fair()/8) {
				t.Fatalf("a store that did what it had to uses %d, and the whole is still %d over", s.used, over)
			}
			s.Excess(s.used)
			if b.Used() != total-free {
				t.Fatalf("Used is %d, want %d", b.Used(), total-free)
			}
		}
		for _, s := range stores {
			s.Close()
		}
		if b.Used() != 0 {
			t.Fatalf("%d bytes are used by nobody", b.Used())
		}
	})
}

// TestBudgetFair: two stores that want everything come to equal parts, whoever was first; one alone has it all.
func TestBudgetFair(t *testing.T) {
	b := state.NewBudget(1 << 20)
	one, two := b.Share(), b.Share()
	used := [2]int64{}
	step := func(s *state.Share, used *int64) {
		*used += 1 << 12
		*used -= s.Excess(*used)
		s.Excess(*used)
	}
	for range 300 {
		step(one, &used[0])
	}
	if used[0] < 9<<17/10 {
		t.Fatalf("a store alone uses %d of %d", used[0], b.Bytes())
	}
	for range 2000 {
		step(two, &used[1])
		step(one, &used[0])
	}
	for i, u := range used {
		if u < 3<<18/2 || u > 5<<18/2 {
			t.Errorf("store %d of two uses %d of %d", i, u, b.Bytes())
		}
	}
}
