package serde_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/serde"
)

func ExampleFor() {
	s, err := serde.For[int64]()
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := s.Append(nil, -2)
	fmt.Printf("%x %v %s\n", data, err, s.Schema())
	_, err = serde.For[chan int]()
	fmt.Println(err)
	// Output:
	// 03 <nil> "long"
	// serde: type chan int has no codec: chan int (chan) holds no data that can be written; tag the field `avro:"-"` to leave it out, or give a hand-written Serde
}

// Outcome is an enum for Avro.
type Outcome string

func (Outcome) Symbols() []string { return []string{"APPROVED", "REJECTED"} }

func ExampleAvro() {
	type Decision struct {
		ID        string        `avro:"id"`
		Outcome   Outcome       `avro:"outcome"`
		Amount    serde.Decimal `avro:"amount,precision=12,scale=2"`
		DecidedAt time.Time     `avro:"decided_at"`
		Note      *string       `avro:"note"`
	}
	s, err := serde.Avro[Decision](serde.WithNamespace("shop"))
	if err != nil {
		fmt.Println(err)
		return
	}
	amount, err := serde.ParseDecimal("12.50")
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := s.Append(nil, Decision{ID: "a", Outcome: "REJECTED", Amount: amount, DecidedAt: time.UnixMilli(1)})
	fmt.Printf("%x %v\n", data, err)
	fmt.Println(s.Schema())
	// Output:
	// 0261020404e20200 <nil>
	// {"name":"shop.Decision","type":"record","fields":[{"name":"id","type":"string"},{"name":"outcome","type":{"name":"shop.Outcome","type":"enum","symbols":["APPROVED","REJECTED"]}},{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},{"name":"decided_at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"note","type":["null","string"],"default":null}]}
}

func ExampleResolve() {
	type Order struct {
		Total float64 `avro:"total,alias=amount"`
		Shop  string  `avro:"shop,default=web"`
	}
	old, err := serde.Resolve[Order](`{"type":"record","name":"Order","fields":[{"name":"amount","type":"int"}]}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	var o Order
	err = old.Decode([]byte{6}, &o)
	fmt.Println(o.Total, o.Shop, err)
	// Output: 3 web <nil>
}

func ExampleCheck() {
	writer := `{"type":"record","name":"User","fields":[{"name":"age","type":"long"}]}`
	reader := `{"type":"record","name":"User","fields":[{"name":"age","type":"int"},{"name":"limit","type":"int"}]}`
	for _, fault := range serde.Check(reader, writer) {
		fmt.Println(fault)
	}
	// Output:
	// field age: writer has long, reader int (type)
	// field limit: no default and missing in the writer (missing field)
}

func ExampleDecimal() {
	a, err := serde.ParseDecimal("0.10")
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := serde.NewDecimal(2, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	sum, err := a.Add(b)
	fmt.Println(sum, sum.StringFixed(2), err)
	_, err = serde.ParseDecimal("1234567890123456789")
	fmt.Println(errors.Is(err, serde.ErrDecimalRange))
	// Output:
	// 0.3 0.30 <nil>
	// true
}

func ExampleHashOf() {
	hash := serde.HashOf(serde.MustFor[string]())
	fmt.Printf("%016x\n", hash("abc"))
	// Output: 78af5f94892f3950
}

func ExampleSingleObject() {
	s, err := serde.SingleObject[int32](nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := s.Append(nil, 1)
	fmt.Printf("%x %v\n", data, err)
	// Output: c3018f5c393f1ad5757202 <nil>
}

func ExampleIncompatibility() {
	type Reader struct {
		_     struct{} `avro:"R"`
		Limit int32    `avro:"limit"`
	}
	_, err := serde.Resolve[Reader](`{"type":"record","name":"R","fields":[]}`)
	var fault serde.Incompatibility
	fmt.Println(errors.As(err, &fault), fault.Path, fault.Rule)
	// Output: true limit missing field
}
