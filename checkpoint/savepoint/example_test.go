package savepoint_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/state"
)

// A savepoint is made without a job, changed, read and compared.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	codecs := savepoint.Codecs[string, int64]{}
	total, err := savepoint.NewState("total", state.KindValue, "", codecs, 0)
	if err != nil {
		panic(err)
	}
	b := savepoint.NewBuilder("orders", 128)
	b.Declare("customers", total)
	totals := savepoint.EditState(b, "customers", "total", codecs)
	totals.Set("ann", 10, time.Time{})
	totals.Set("bob", 20, time.Time{})
	monday, err := b.Write(ctx, checkpoint.Dir(dir+"/monday"), savepoint.Options{})
	if err != nil {
		panic(err)
	}

	s, err := savepoint.Open(ctx, monday)
	if err != nil {
		panic(err)
	}
	b = s.Edit()
	savepoint.EditState(b, "customers", "total", codecs).Set("bob", 25, time.Time{})
	fixed, err := b.Write(ctx, checkpoint.Dir(dir+"/fixed"), savepoint.Options{})
	if err != nil {
		panic(err)
	}

	f, err := savepoint.Open(ctx, fixed)
	if err != nil {
		panic(err)
	}
	err = savepoint.Values(ctx, f, "customers", "total", codecs, func(r savepoint.Row[string, int64]) error {
		if r.Key == "bob" {
			fmt.Println(r.Key, r.Value)
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	d, err := savepoint.Compare(ctx, s, f, savepoint.CompareOptions{})
	if err != nil {
		panic(err)
	}
	st := d.Operators[0].States[0]
	fmt.Println(st.Name, "equal", st.Equal, "changed", st.Changed)
	// Output:
	// bob 25
	// total equal 1 changed 1
}
