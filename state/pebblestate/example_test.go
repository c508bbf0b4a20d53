package pebblestate_test

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state/pebblestate"
)

func ExampleNew() {
	b := pebblestate.New(pebblestate.Options{Dir: "/var/lib/job/state", FS: vfs.NewMem(), CacheBytes: 256 << 20})
	fmt.Println(b.Name(), b.Validate())
	fmt.Println(pebblestate.Dir("").Validate())
	// Output:
	// pebble <nil>
	// pebblestate: Options.Dir is empty; give a directory on a local disk
}
