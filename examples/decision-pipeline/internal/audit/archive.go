package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hamba/avro/v2/ocf"
)

// archivePath is the place of a visible file below the archive's root; everything else there is the writer's own.
var archivePath = regexp.MustCompile(`^dt=(\d{4}-\d{2}-\d{2})/hh=(\d{2})/[^/]+\.avro$`)

// readArchive reads every visible file of the archive and checks that each row lies under the hour of its decision.
func (s Sources) readArchive(ctx context.Context, e *Evidence) error {
	u, err := url.Parse(s.Archive)
	if err != nil {
		return fmt.Errorf("audit: archive %q: %w", s.Archive, err)
	}
	read := func(path string, r io.Reader) error { return s.readFile(e, path, r) }
	switch u.Scheme {
	case "file":
		return readDir(u.Path, read)
	case "s3":
		return readBucket(ctx, s.S3, u.Host, strings.Trim(u.Path, "/"), read)
	default:
		return fmt.Errorf("audit: archive %q: want file:///path or s3://bucket/prefix", s.Archive)
	}
}

// readFile reads one container file; what is wrong with it goes into e.
func (s Sources) readFile(e *Evidence, path string, r io.Reader) error {
	hour := archivePath.FindStringSubmatch(path)
	dec, err := ocf.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		e.Unreadable = append(e.Unreadable, path+": "+err.Error())
		return nil
	}
	for n := int64(0); dec.HasNext(); n++ {
		var v row
		where := fmt.Sprintf("%s row %d", path, n)
		if err := dec.Decode(&v); err != nil {
			e.Unreadable = append(e.Unreadable, where+": "+err.Error())
			return nil
		}
		d, err := v.decision()
		if err == nil && d.DecidedAt.Format("2006-01-02 15") != hour[1]+" "+hour[2] {
			err = fmt.Errorf("%s, decided at %v, lies under another hour", d.ID, d.DecidedAt)
		}
		if err != nil {
			e.Unreadable = append(e.Unreadable, where+": "+err.Error())
		} else if s.Belongs(d.ID) {
			e.Archive = append(e.Archive, Record{Decision: d, Where: path, Order: -1, Offset: n})
		}
	}
	if err := dec.Error(); err != nil {
		e.Unreadable = append(e.Unreadable, path+": "+err.Error())
	}
	return nil
}

func readDir(root string, read func(path string, r io.Reader) error) error {
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path, err := filepath.Rel(root, name)
		if path = filepath.ToSlash(path); err != nil || !archivePath.MatchString(path) {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return read(path, f)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever archived
	}
	if err != nil {
		return fmt.Errorf("audit: archive %q: %w", root, err)
	}
	return nil
}

func readBucket(ctx context.Context, client *s3.Client, bucket, prefix string, read func(path string, r io.Reader) error) error {
	if prefix != "" {
		prefix += "/"
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("audit: list s3://%s/%s: %w", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			path := strings.TrimPrefix(aws.ToString(o.Key), prefix)
			if !archivePath.MatchString(path) {
				continue
			}
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: o.Key})
			if err != nil {
				return fmt.Errorf("audit: get s3://%s/%s: %w", bucket, *o.Key, err)
			}
			err = read(path, out.Body)
			out.Body.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}
