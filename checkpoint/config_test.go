package checkpoint_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
)

func TestConfigValidate(t *testing.T) {
	dir := checkpoint.Dir("x")
	for _, c := range []struct {
		c    checkpoint.Config
		want []string // parts of the message; none: valid
	}{
		{checkpoint.Config{}, nil},
		{checkpoint.Config{Storage: dir}, nil},
		{checkpoint.Every(10*time.Millisecond, dir), nil},
		{checkpoint.Every(time.Hour, dir), nil},
		{checkpoint.Every(time.Second, dir, checkpoint.Timeout(time.Minute), checkpoint.MinPause(time.Second), checkpoint.Retain(1)), nil},
		{checkpoint.Every(9*time.Millisecond, dir), []string{"Interval is 9ms"}},
		{checkpoint.Every(-1, dir), []string{"Interval is -1ns"}},
		{checkpoint.Every(time.Second, nil), []string{"Storage is nil"}},
		{checkpoint.Every(time.Second, checkpoint.Dir("")), []string{`Dir("")`}},
		{checkpoint.Every(time.Second, checkpoint.S3(checkpoint.S3Options{Prefix: "a/../b", Endpoint: "127.0.0.1:9000"})),
			[]string{"Bucket is empty", `Prefix "a/../b"`, `Endpoint is "127.0.0.1:9000"`}},
		{checkpoint.Every(time.Second, dir, checkpoint.Timeout(-1), checkpoint.MinPause(-1), checkpoint.Retain(-1)),
			[]string{"Timeout is -1ns", "MinPause is -1ns", "Retain is -1"}},
		{checkpoint.Every(time.Minute, dir, checkpoint.Timeout(time.Second)), []string{"shorter than the Interval"}},
		{checkpoint.Every(time.Second, dir, checkpoint.AlignmentTimeout(time.Minute)), nil},
		{checkpoint.Every(time.Second, dir, checkpoint.AlignmentTimeout(-1)), []string{"AlignmentTimeout is -1ns"}},
		{checkpoint.Every(time.Second, dir, checkpoint.AlignmentTimeout(10*time.Minute)), []string{"AlignmentTimeout is 10m0s", "less than the Timeout of 10m0s"}},
		{checkpoint.Every(time.Second, dir, checkpoint.Timeout(time.Minute), checkpoint.AlignmentTimeout(2*time.Minute)), []string{"less than the Timeout of 1m0s"}},
	} {
		err := c.c.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v, want faults %q", c.c, err, c.want)
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %v, want also %q", c.c, err, w)
			}
		}
	}
	d := checkpoint.Every(time.Hour, dir).WithDefaults()
	if d.Timeout != time.Hour || d.Retain != 3 || d.MinPause != 0 {
		t.Errorf("defaults: %+v", d)
	}
	if err := d.Validate(); err != nil {
		t.Errorf("defaults are not valid: %v", err)
	}
}

func TestOpenURL(t *testing.T) {
	for raw, want := range map[string]string{
		"/var/ckpt": "file:///var/ckpt", "file:///var/a%20b": "file:///var/a%20b", "file://localhost/var": "file:///var",
		"s3://bucket": "s3://bucket/", "s3://bucket/": "s3://bucket/", "s3://bucket/a/b/": "s3://bucket/a/b",
		"s3://bucket/p?region=eu-west-1&endpoint=http://h:1": "s3://bucket/p?endpoint=http%3A%2F%2Fh%3A1&region=eu-west-1",
	} {
		st, err := checkpoint.OpenURL(raw)
		if err != nil || st.URL() != want {
			t.Errorf("OpenURL(%q): %v, %v, want %q", raw, st, err, want)
			continue
		}
		again, err := checkpoint.OpenURL(st.URL())
		if err != nil || again.URL() != want {
			t.Errorf("OpenURL(%q) does not read its own URL: %v", want, err)
		}
	}
	for raw, want := range map[string]string{
		"": "empty", "file://host/dir": "file:///directory", "file:///": "", "s3://": "Bucket", "gs://b": `scheme "gs"`, "s3://b?key=x": `parameter "key"`,
		"s3://b?endpoint=h:1": "Endpoint", "s3://b/../c": "Prefix", "http://[": "http://[",
	} {
		if _, err := checkpoint.OpenURL(raw); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("OpenURL(%q): %v, want an error with %q", raw, err, want)
		}
	}
}
