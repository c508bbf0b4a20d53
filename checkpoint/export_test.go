package checkpoint

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace-io/millrace/state"
)

// S3Over is S3 with the client that S3 makes itself, over another transport.
func S3Over(o S3Options, transport s3.HTTPClient) Storage {
	o.Client = s3Storage{o}.client(credentials.NewStaticCredentialsProvider("id", "secret", ""), transport)
	return S3(o)
}

// FileSystem and TempFile are what Dir needs of the operating system.
type (
	FileSystem = fileSystem
	TempFile   = tempFile
	OSFiles    = osFiles
)

// DirOver is Dir over another file system.
func DirOver(path string, f FileSystem) Storage { return dirStorage{path: path, fs: f} }

// PruneBroken is Prune with one of the faults that the simulation of the protocol has to find.
func PruneBroken(ctx context.Context, j *Journal, n int, fault string) error {
	j.pruning.Lock()
	defer j.pruning.Unlock()
	prefixes := []string{ckptDir + "/", dataDir + "/"}
	if fault == "files go before HEAD drops the manifest" {
		h := j.copyHead()
		h.Checkpoints = h.Checkpoints[max(0, len(h.Checkpoints)-n):]
		marked, err := j.mark(ctx, h)
		if err != nil {
			return err
		}
		err = j.s.sweep(ctx, h, marked, prefixes)
		_, _, rerr := j.retain(ctx, n)
		return errors.Join(err, rerr)
	}
	h, _, err := j.retain(ctx, n)
	if h == nil || err != nil {
		return err
	}
	marked, err := j.mark(ctx, h)
	if err != nil {
		return err
	}
	switch fault {
	case "anything unmarked goes":
		h.LastID = 1 << 60
	case "pending is not marked":
		marked = j.markFiles()
	}
	return j.s.sweep(ctx, h, marked, prefixes)
}

// markFiles marks the manifests that are known and their files, and nothing that is pending.
func (j *Journal) markFiles() map[string]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	marked := map[string]bool{}
	for name, m := range j.manifests {
		marked[name] = true
		m.eachFile(func(_ string, f state.File) { marked[f.Name] = true })
	}
	return marked
}
