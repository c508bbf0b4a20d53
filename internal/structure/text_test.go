package structure

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The patterns are put together from pieces so that this file does not match them.
var (
	// A temporary file in a URL is an example for a reader; anything else below the temporary folder is left over from a machine.
	machinePath = regexp.MustCompile(`(^|[^A-Za-z0-9_.})-])/(` + `work|root|home/[a-z]+|Users/[A-Za-z]+)(/|["'` + "`" + `\s]|$)|(^|[^:A-Za-z0-9/-])/` + `tmp/[A-Za-z0-9_]`)
	unfinished  = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)
)

// machineRule finds paths that exist on one machine only.
func machineRule(f file) []string { return lines(f, machinePath, "path of one machine") }

// unfinishedRule finds marks of unfinished work.
func unfinishedRule(f file) []string { return lines(f, unfinished, "unfinished work") }

// lines reports the lines of a text file that match re. Binary files are left out.
func lines(f file, re *regexp.Regexp, what string) []string {
	if !utf8.Valid(f.src) || bytes.IndexByte(f.src, 0) >= 0 {
		return nil
	}
	var out []string
	for i, line := range strings.Split(string(f.src), "\n") {
		if m := re.FindString(line); m != "" {
			out = append(out, f.finding(i+1, "%s: %q", what, strings.TrimSpace(m)))
		}
	}
	return out
}

func TestNoMachinePaths(t *testing.T) {
	for _, f := range repo(t) {
		for _, msg := range machineRule(f) {
			t.Error(msg)
		}
	}
}

func TestNothingUnfinished(t *testing.T) { hold(t, unfinishedRule) }

func TestMachineRule(t *testing.T) {
	findings(t, machineRule, []snippet{
		{"work folder", "a.md", "see /" + "work/x.md\n", 1},
		{"work folder, quoted", "a.md", `dir = "/` + "work\"\n", 1},
		{"home folder", "a.md", "cd /" + "home/anna/x\n", 1},
		{"temporary file", "a.md", "see /" + "tmp/x.txt\n", 1},
		{"temporary folder by default", "a", "${TMPDIR:-/" + "tmp}/millrace\n", 0},
		{"example URL", "a.md", "-checkpoint-dir file:///" + "tmp/ckpt\n", 0},
		{"part of a path", "a.md", "internal/work/x and a URL https://example.com/work/x\n", 0},
		{"package path", "a.md", "github.com/" + "tmp/x\n", 0},
	})
}

func TestUnfinishedRule(t *testing.T) {
	findings(t, unfinishedRule, []snippet{
		{"mark", "a.go", "package x // TO" + "DO: more\n", 1},
		{"part of a word", "a.go", "package x // mas" + "TODON\n", 0},
	})
}
