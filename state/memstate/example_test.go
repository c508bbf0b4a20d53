package memstate_test

import (
	"fmt"

	"github.com/millrace-io/millrace/state/memstate"
)

func ExampleNew() {
	fmt.Println(memstate.New().Name())
	// Output: memory
}
