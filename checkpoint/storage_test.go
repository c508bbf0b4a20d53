package checkpoint_test

import (
	"crypto/rand"
	"os"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

func TestDirConformance(t *testing.T) {
	checkpointtest.Conformance(t, func(t *testing.T) checkpoint.Storage { return checkpoint.Dir(t.TempDir()) })
}

func TestMemoryConformance(t *testing.T) {
	checkpointtest.Conformance(t, func(t *testing.T) checkpoint.Storage { return checkpointtest.NewMemory(t.Name()) })
}

func TestS3Conformance(t *testing.T) {
	storage := s3Server(t)
	checkpointtest.Conformance(t, func(t *testing.T) checkpoint.Storage { return storage("checkpoint-test/" + rand.Text()) })
}

// The server copies within itself what is imported.
func TestS3Import(t *testing.T) {
	storage := s3Server(t)
	m, from, content := foreign(t, storage("checkpoint-test/"+rand.Text()))
	core, logs := observer.New(zap.WarnLevel)
	j, err := checkpoint.Lead(t.Context(), storage("checkpoint-test/"+rand.Text()), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	got, files, err := j.Import(t.Context(), m, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkImport(t, j, m, got, files, content)
	for _, l := range logs.All() {
		t.Errorf("the server did not copy: %s %v", l.Message, l.ContextMap())
	}
}

// s3Server makes storages by prefix on a real server.
func s3Server(t *testing.T) func(prefix string) checkpoint.Storage {
	t.Helper()
	endpoint, bucket := os.Getenv("S3_ENDPOINT"), os.Getenv("S3_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("needs an S3 server: S3_ENDPOINT, S3_BUCKET and AWS_* are set by internal/services/s3")
	}
	return func(prefix string) checkpoint.Storage {
		return checkpoint.S3(checkpoint.S3Options{Bucket: bucket, Endpoint: endpoint, Prefix: prefix})
	}
}
