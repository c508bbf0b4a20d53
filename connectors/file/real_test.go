package file

import (
	"context"
	"os"
	"testing"
)

// realS3 is a store on the server that the environment names, below a prefix of its own that is emptied afterwards.
func realS3(t *testing.T) objects {
	t.Helper()
	endpoint, bucket := os.Getenv("S3_ENDPOINT"), os.Getenv("S3_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("S3_ENDPOINT and S3_BUCKET are not set: this test needs an S3 server")
	}
	prefix := "test-" + randomName()
	s, err := newS3Store(location{bucket: bucket, prefix: prefix}, S3Options{Endpoint: endpoint}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range namesIn(t, s, "", nil) {
			if err := s.remove(context.Background(), name); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}
