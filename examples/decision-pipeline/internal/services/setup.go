package services

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
)

// Ready says what Setup found and made.
type Ready struct {
	StreamARN string
	SchemaID  int
	// UsedTables says that the decisions or variables table held items before; Used that anything held data.
	UsedTables, Used bool
}

// Partitions of the topics that Setup makes.
const Partitions = 4

// Setup makes tables, topics, subject and bucket where they are missing and changes nothing that exists.
func (e Endpoints) Setup(ctx context.Context, schema string) (Ready, error) {
	var r Ready
	var err error
	tables := e.Tables()
	if r.StreamARN, err = store.New(tables).Setup(ctx); err != nil {
		return r, err
	}
	for _, t := range []string{model.DecisionsTable, model.VariablesTable} {
		out, err := tables.Scan(ctx, &dynamodb.ScanInput{TableName: aws.String(t), Limit: aws.Int32(1)})
		if err != nil {
			return r, fmt.Errorf("services: scan table %q: %w", t, err)
		}
		r.UsedTables = r.UsedTables || len(out.Items) > 0
	}
	topics, err := e.topics(ctx)
	if err != nil {
		return r, err
	}
	archive, err := e.archive(ctx)
	if err != nil {
		return r, err
	}
	r.Used = r.UsedTables || topics || archive
	subjects, err := e.Subjects()
	if err != nil {
		return r, err
	}
	s, err := subjects.CreateSchema(ctx, model.Subject, sr.Schema{Schema: schema, Type: sr.TypeAvro})
	if err != nil {
		return r, fmt.Errorf("services: register the schema of subject %q: %w", model.Subject, err)
	}
	r.SchemaID = s.ID
	return r, nil
}

// topics makes the topics and reports whether they hold records.
func (e Endpoints) topics(ctx context.Context) (used bool, err error) {
	cl, err := e.Kafka()
	if err != nil {
		return false, fmt.Errorf("services: kafka client: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	names := []string{model.DecisionsTopic, model.DeadLetterTopic}
	created, err := adm.CreateTopics(ctx, Partitions, -1, nil, names...)
	if err != nil {
		return false, fmt.Errorf("services: create topics %v: %w", names, err)
	}
	for _, t := range created.Sorted() {
		if t.Err != nil && !errors.Is(t.Err, kerr.TopicAlreadyExists) {
			return false, fmt.Errorf("services: create topic %q: %w", t.Topic, t.Err)
		}
	}
	start, errStart := adm.ListStartOffsets(ctx, names...)
	end, errEnd := adm.ListEndOffsets(ctx, names...)
	if err := errors.Join(errStart, errEnd, start.Error(), end.Error()); err != nil {
		return false, fmt.Errorf("services: offsets of topics %v: %w", names, err)
	}
	end.Each(func(o kadm.ListedOffset) {
		first, _ := start.Lookup(o.Topic, o.Partition)
		used = used || o.Offset > first.Offset
	})
	return used, nil
}

// archive makes the bucket and reports whether the archive holds files.
func (e Endpoints) archive(ctx context.Context) (used bool, err error) {
	u, err := url.Parse(e.Archive)
	if err != nil {
		return false, fmt.Errorf("services: archive %q: %w", e.Archive, err)
	}
	if u.Scheme != "s3" {
		found, err := filepath.Glob(filepath.Join(u.Path, "dt=*"))
		return len(found) > 0, err
	}
	if err := e.EnsureBucket(ctx, e.Archive); err != nil {
		return false, err
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	out, err := e.Buckets().ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(u.Host), Prefix: aws.String(prefix + "dt="), MaxKeys: aws.Int32(1)})
	if err != nil {
		return false, fmt.Errorf("services: list %s: %w", e.Archive, err)
	}
	return len(out.Contents) > 0, nil
}

// EnsureBucket makes the bucket of an s3:// URL, and the directory of a file:// one, if it is missing.
func (e Endpoints) EnsureBucket(ctx context.Context, place string) error {
	u, err := url.Parse(place)
	if err != nil {
		return fmt.Errorf("services: %q: %w", place, err)
	}
	if u.Scheme != "s3" {
		if err := os.MkdirAll(u.Path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("services: make %q: %w", place, err)
		}
		return nil
	}
	if _, err = e.Buckets().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(u.Host)}); err == nil {
		return nil
	}
	_, err = e.Buckets().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(u.Host)})
	var mine *types.BucketAlreadyOwnedByYou
	var taken *types.BucketAlreadyExists
	if err != nil && !errors.As(err, &mine) && !errors.As(err, &taken) {
		return fmt.Errorf("services: make bucket %q: %w", u.Host, err)
	}
	return nil
}
