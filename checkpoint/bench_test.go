package checkpoint_test

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

// 8 MB of content into a storage in memory: hashing, checksums and one copy.
func BenchmarkObjectWrite(b *testing.B) {
	st := checkpointtest.NewMemory("bench")
	files := leading(b, st).Files(1)
	content := random(7 << 20) // below the size from which a temporary file is used
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		h := writeObject(b, files, content, 0)
		st.Change(h.Name, func([]byte) []byte { return nil })
	}
}

// 8 KiB blocks at random places of an object in a directory, of which every chunk has been checked, and from an object store, where each
// read takes and checks the chunks that it touches.
func BenchmarkObjectReadAt(b *testing.B) {
	for name, st := range map[string]checkpoint.Storage{"dir": checkpoint.Dir(b.TempDir()), "memory": checkpointtest.NewMemory("bench")} {
		b.Run(name, func(b *testing.B) {
			files := leading(b, st).Files(1)
			const size = 16 << 20
			o, err := files.Open(b.Context(), writeObject(b, files, random(size), 0))
			if err != nil {
				b.Fatal(err)
			}
			defer o.Close()
			whole := make([]byte, size)
			if err := o.ReadAt(b.Context(), whole, 0); err != nil {
				b.Fatal(err)
			}
			p := make([]byte, 8<<10)
			r := rand.New(rand.NewPCG(1, 1))
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if err := o.ReadAt(b.Context(), p, r.Int64N(size-int64(len(p)))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
