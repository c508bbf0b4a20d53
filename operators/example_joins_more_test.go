package operators_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// Rates of exchange are broadcast: every subtask keeps them all, and converts its own amounts. Amounts without a rate go to the side.
func ExampleBroadcastProcess() {
	type builder = operators.PlainBroadcast[order, order, string]
	unrated := operators.NewTag[order]("unrated")
	convert := operators.BroadcastProcess(func(b *builder) {
		rates := b.Broadcast[string, int64]("rates")
		side := b.Side(unrated)
		b.OnRecord(func(c *operators.RecordCtx[string], amount order) error {
			rate, ok, err := rates.Get(amount.Who)
			if err != nil {
				return err
			}
			if !ok {
				return side(amount)
			}
			return c.Emit(fmt.Sprintf("%d %s are %d cents", amount.N, amount.Who, amount.N*rate))
		})
		b.OnBroadcast(func(c *operators.BroadcastCtx[string], rate order) error { return rates.Put(c, rate.Who, rate.N) })
	})
	h := operatortest.New2(exampleTB{}, convert, operatortest.Options{})
	h.ProcessA(order{"EUR", 3}, 1_000)
	h.ProcessB(order{"EUR", 110}, 2_000)
	h.ProcessA(order{"EUR", 3}, 3_000)
	h.ProcessB(order{"EUR", 120}, 4_000)
	h.ProcessA(order{"EUR", 3}, 5_000)
	fmt.Println(h.Records(), h.SideOutput(unrated))
	// Output: [3 EUR are 330 cents 3 EUR are 360 cents] [EUR3@1000]
}

// The function of a join may look at the times of a pair, and pass none on: here payments that are too small for their order.
func ExampleIntervalJoinProcess() {
	type ctx = operators.JoinCtx[string, string]
	paid := operators.IntervalJoinProcess(who, who, nil, operators.Between(0, time.Minute), operators.JoinCodecs[order, order]{},
		func(c *ctx, o, payment order) error {
			if payment.N < o.N {
				return nil
			}
			return c.Emit(fmt.Sprintf("%s has paid after %d s", c.Key(), (c.RightMS()-c.LeftMS())/1000))
		})
	h := operatortest.New2(exampleTB{}, paid, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 10_000)
	h.ProcessB(order{"ann", 10}, 20_000)
	h.ProcessB(order{"ann", 30}, 55_000)
	h.ProcessB(order{"ann", 30}, 71_000)
	fmt.Println(h.Outputs())
	// Output: [ann has paid after 45 s@55000]
}

// Orders keep their order within a customer while the customer's city is looked up; those of unknown customers are dropped.
func ExampleLookupJoinKeyed() {
	type options = operators.LookupOptions[order, string]
	known := map[string]string{"ann": "Bern"}
	city := func(_ context.Context, customer string) (string, bool, error) {
		city, found := known[customer]
		return city, found, nil
	}
	stage := operators.LookupJoinKeyed(who, nil, options{Inner: true, Cache: operators.LookupCache{Rows: 10_000, ExpireAfterWrite: time.Hour}}, city,
		func(o order, city string, _ bool) string { return fmt.Sprint(o, " from ", city) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"ann", 30}, 0)
	h.Process(order{"bob", 20}, 0)
	h.Process(order{"ann", 5}, 0)
	h.EndInput()
	fmt.Println(h.Records())
	h.Close()
	// Output: [ann30 from Bern ann5 from Bern]
}

// A left join gives a result for each record, also where the table has no row for its time: here a rate of 0 withdraws the one before it.
func ExampleTemporalLeftJoin() {
	table := operators.TemporalOptions[order, order]{Deleted: func(rate order) bool { return rate.N == 0 }}
	rated := operators.TemporalLeftJoin(who, who, nil, table, func(o order, rate *order) string {
		if rate == nil {
			return fmt.Sprint(o.N, " ", o.Who, " without a rate")
		}
		return fmt.Sprint(o.N, " ", o.Who, " at ", rate.N)
	})
	h := operatortest.New2(exampleTB{}, rated, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessB(order{"EUR", 110}, 10_000)
	h.ProcessB(order{"EUR", 0}, 60_000)
	h.ProcessA(order{"EUR", 7}, 60_000)
	h.ProcessA(order{"EUR", 5}, 59_999)
	h.ProcessA(order{"EUR", 3}, 9_999)
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// 3 EUR without a rate
	// 5 EUR at 110
	// 7 EUR without a rate
}

// What a customer owes goes over from window to window: it is state of the key, beside the orders and payments of the window.
func ExampleWindowCoGroupProcess() {
	type function = operators.WindowFunc[string, operators.CoGroup[order, order], string]
	owed := operators.WindowCoGroupProcess(who, who, nil, operators.Tumbling(10*time.Second), func(f *function) {
		balance := f.Value[int64]("balance")
		f.OnFire(func(c *operators.WindowCtx[string, string], g operators.CoGroup[order, order]) error {
			n, err := balance.Get()
			for _, o := range g.First {
				n += o.N
			}
			for _, payment := range g.Second {
				n -= payment.N
			}
			return errors.Join(err, balance.Set(n), c.Emit(fmt.Sprintf("%s owes %d at %d s", c.Key(), n, c.Window().EndMS/1000)))
		})
	})
	h := operatortest.New2(exampleTB{}, owed, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 1_000)
	h.ProcessB(order{"ann", 10}, 5_000)
	h.ProcessA(order{"ann", 5}, 12_000)
	h.ProcessB(order{"ann", 25}, 21_000)
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// ann owes 20 at 10 s
	// ann owes 25 at 20 s
	// ann owes 0 at 30 s
}
