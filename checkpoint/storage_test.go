package checkpoint_test

import (
	"crypto/rand"
	"os"
	"testing"

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
	endpoint, bucket := os.Getenv("S3_ENDPOINT"), os.Getenv("S3_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("needs an S3 server: S3_ENDPOINT, S3_BUCKET and AWS_* are set by internal/services/s3")
	}
	checkpointtest.Conformance(t, func(t *testing.T) checkpoint.Storage {
		return checkpoint.S3(checkpoint.S3Options{Bucket: bucket, Endpoint: endpoint, Prefix: "checkpoint-test/" + rand.Text()})
	})
}
