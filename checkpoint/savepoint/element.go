package savepoint

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/millrace-io/millrace/state"
)

// elementNumber is the number of an element of a list.
func elementNumber(sub []byte) (uint64, error) {
	if len(sub) != 8 || sub[0] > math.MaxInt8 {
		return 0, fmt.Errorf("element number %x: %w", sub, state.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(sub), nil
}
