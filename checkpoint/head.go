package checkpoint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	headName = "HEAD"
	ckptDir  = "ckpt"
	dataDir  = "data"
)

// Ref is the entry of one completed checkpoint in HEAD.
type Ref struct {
	ID        int64  `json:"id"`
	Epoch     int64  `json:"epoch"`
	Name      string `json:"name"`   // of the manifest
	Size      int64  `json:"size"`   // of the manifest, bytes
	SHA256    string `json:"sha256"` // of the manifest
	Savepoint bool   `json:"savepoint,omitempty"`
	CreatedMS int64  `json:"created_ms"` // wall clock at the trigger, Unix ms; printed, never compared
}

// head is the content of HEAD, the one object that is ever overwritten.
type head struct {
	Epoch int64 `json:"epoch"`
	// LastID is the newest completed id. It stays when the checkpoint itself is pruned.
	LastID int64 `json:"last_id"`
	// Checkpoints are retained, ascending by id; the last is what a restart begins from.
	Checkpoints []Ref `json:"checkpoints"`
	// Savepoints are pinned until dropped, ascending by id.
	Savepoints []Ref `json:"savepoints"`
	// Nonce makes every content ever written unique: equal content read back proves that a write without an answer was ours.
	Nonce string `json:"nonce"`
}

func encodeHead(h *head) ([]byte, error) { return seal("head", h) }

func decodeHead(object string, data []byte) (*head, error) {
	h := new(head)
	if err := unseal(object, "head", data, h); err != nil {
		return nil, err
	}
	if err := h.validate(); err != nil {
		return nil, &CorruptError{Object: object, Length: int64(len(data)), Reason: "its checksum is right but its content is not: " + err.Error()}
	}
	return h, nil
}

func (h *head) validate() error {
	if h.Epoch < 1 || h.LastID < 0 {
		return fmt.Errorf("epoch is %d and last id %d", h.Epoch, h.LastID)
	}
	for _, list := range [][]Ref{h.Checkpoints, h.Savepoints} {
		for i, r := range list {
			if r.ID < 1 || r.ID > h.LastID || r.Epoch < 1 || r.Epoch > h.Epoch || r.Size < 1 || i > 0 && list[i-1].ID >= r.ID {
				return fmt.Errorf("entry of checkpoint %d is out of order or range", r.ID)
			}
			if n, ok := parseName(r.Name); !ok || n.dir != ckptDir || n.epoch != r.Epoch || n.id != r.ID {
				return fmt.Errorf("entry of checkpoint %d has the name %q", r.ID, r.Name)
			}
		}
	}
	return nil
}

func (h *head) clone() *head {
	c := *h
	c.Checkpoints, c.Savepoints = slices.Clone(h.Checkpoints), slices.Clone(h.Savepoints)
	return &c
}

// latest is the newest retained checkpoint.
func (h *head) latest() (Ref, bool) {
	if len(h.Checkpoints) == 0 {
		return Ref{}, false
	}
	return h.Checkpoints[len(h.Checkpoints)-1], true
}

// refs are all entries, each manifest once.
func (h *head) refs() []Ref {
	all := slices.Concat(h.Checkpoints, h.Savepoints)
	slices.SortFunc(all, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(all, func(a, b Ref) bool { return a.Name == b.Name })
}

// objectName is a parsed name: <dir>/<epoch>-<id>-<random>.
type objectName struct {
	dir       string
	epoch, id int64
}

var nameForm = regexp.MustCompile(`^(?:(ckpt|data|tmp)/|probe-|tmp/probe-)([0-9]{1,18})-([0-9]{1,18})-[A-Za-z0-9-]+$`)

// parseName says which epoch and id a name was made for; false for a name that this package did not make, which is never deleted.
func parseName(name string) (objectName, bool) {
	m := nameForm.FindStringSubmatch(name)
	if m == nil {
		return objectName{}, false
	}
	epoch, err1 := strconv.ParseInt(m[2], 10, 64)
	id, err2 := strconv.ParseInt(m[3], 10, 64)
	return objectName{dir: m[1], epoch: epoch, id: id}, errors.Join(err1, err2) == nil
}

// deletable is the name rule: an object that no retained manifest names may go when it was made for an epoch that is over, or for a
// checkpoint that is over. Whatever is being written now has the current epoch and a higher id. No clock is involved. h may be
// stale: then it allows less, never more.
func (h *head) deletable(n objectName) bool {
	return n.epoch < h.Epoch || n.epoch == h.Epoch && n.id <= h.LastID
}
