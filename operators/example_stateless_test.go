package operators_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// Small orders are dropped; what passes keeps its timestamp.
func ExampleFilter() {
	large := operators.Filter(func(o order) bool { return o.N >= 20 })
	h := operatortest.New(exampleTB{}, large, operatortest.Options{})
	h.Process(order{"ann", 30}, 1_000)
	h.Process(order{"bob", 5}, 2_000)
	h.Process(order{"cid", 20}, 3_000)
	fmt.Println(h.Outputs())
	// Output: [ann30@1000 cid20@3000]
}

// A line gives any number of words, and each has the timestamp of the line.
func ExampleFlatMap() {
	words := operators.FlatMap(func(line string, emit func(string) error) error {
		for word := range strings.FieldsSeq(line) {
			if err := emit(word); err != nil {
				return err
			}
		}
		return nil
	})
	h := operatortest.New(exampleTB{}, words, operatortest.Options{})
	h.Process("to be", 1_000)
	h.Process("", 2_000)
	h.Process("or not", 3_000)
	fmt.Println(h.Outputs())
	// Output: [to@1000 be@1000 or@3000 not@3000]
}

// Lines that are numbers go on as such; the others go, as they came, to a side output, from which the graph may correct or count them.
func ExampleSplit() {
	rejected := operators.NewTag[string]("rejected")
	numbers := operators.Split(rejected, func(line string, out func(int64) error, side func(string) error) error {
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return side(line)
		}
		return out(n)
	})
	h := operatortest.New(exampleTB{}, numbers, operatortest.Options{})
	for i, line := range []string{"12", "twelve", "-3"} {
		h.Process(line, int64(i))
	}
	fmt.Println(h.Outputs())
	fmt.Println(h.SideOutput(rejected))
	// Output:
	// [12@0 -3@2]
	// [twelve@1]
}

// Two inputs of different types become one stream: sensors that measure in Celsius, and older ones that measure in Fahrenheit.
func ExampleCoMap() {
	type fahrenheit struct {
		Name    string
		Degrees int64
	}
	stage := operators.CoMap(
		func(r reading) string { return fmt.Sprint(r.Sensor, " ", r.Value) },
		func(f fahrenheit) string { return fmt.Sprint(f.Name, " ", (f.Degrees-32)*5/9) },
	)
	h := operatortest.New2(exampleTB{}, stage, operatortest.Options{})
	h.ProcessA(reading{Sensor: "a", Value: 21}, 1_000)
	h.ProcessB(fahrenheit{"b", 68}, 2_000)
	h.ProcessA(reading{Sensor: "a", Value: 22}, 3_000)
	fmt.Println(h.Outputs())
	// Output: [a 21@1000 b 20@2000 a 22@3000]
}

// One input brings orders one by one, the other in batches, which are taken apart; orders of nothing are dropped on the way.
func ExampleCoFlatMap() {
	single := func(o order, emit func(order) error) error {
		if o.N == 0 {
			return nil
		}
		return emit(o)
	}
	batch := func(os []order, emit func(order) error) error {
		for _, o := range os {
			if err := single(o, emit); err != nil {
				return err
			}
		}
		return nil
	}
	h := operatortest.New2(exampleTB{}, operators.CoFlatMap(single, batch), operatortest.Options{})
	h.ProcessA(order{"ann", 30}, 1_000)
	h.ProcessB([]order{{"bob", 5}, {"cid", 0}, {"dan", 7}}, 2_000)
	h.ProcessA(order{"eve", 0}, 3_000)
	fmt.Println(h.Outputs())
	// Output: [ann30@1000 bob5@2000 dan7@2000]
}
