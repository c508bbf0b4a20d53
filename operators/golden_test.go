package operators_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/operators/operatortest"
)

// goldenFamily is one file of cases. It has either a subject or a replay.
type goldenFamily struct {
	name string
	// operator is what the cases say that they run. Default: name.
	operator string
	// subject makes a new operator of a case: every driver asks for its own.
	subject func(c goldenCase) (goldenSubject, error)
	// replay makes the runner of a family that is no operator of a graph; why says why it cannot be one.
	replay func(t operatortest.TB, c goldenCase) (goldenRunner, error)
	why    string
}

// goldenClaims are the families that the tests of this package replay.
var goldenClaims []goldenFamily

// claimGolden has TestGolden replay the families. Call it in a variable declaration of the file that describes them.
func claimGolden(fs ...goldenFamily) bool {
	for i := range fs {
		if fs[i].operator == "" {
			fs[i].operator = fs[i].name
		}
	}
	goldenClaims = append(goldenClaims, fs...)
	return true
}

// check reports a description that no driver can run.
func (f goldenFamily) check() error {
	switch {
	case f.name == "":
		return errors.New("a family has no name")
	case (f.subject == nil) == (f.replay == nil):
		return fmt.Errorf("family %q needs a subject or a replay, and not both", f.name)
	case f.replay != nil && f.why == "":
		return fmt.Errorf("family %q does not say why it cannot run in a graph", f.name)
	}
	return nil
}

// checkClaims compares the families that are claimed with the files found. A file that nobody claims is a fault; a claimed family without
// file is one in the project's own folder.
func checkClaims(claims []goldenFamily, files map[string]string, own bool) error {
	var errs []error
	claimed := map[string]bool{}
	for _, f := range claims {
		errs = append(errs, f.check())
		if claimed[f.name] {
			errs = append(errs, fmt.Errorf("family %q is claimed twice", f.name))
		}
		claimed[f.name] = true
		if own && files[f.name] == "" {
			errs = append(errs, fmt.Errorf("family %q has no file in %s", f.name, goldenDefaultFolder))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !claimed[name] {
			errs = append(errs, fmt.Errorf("nobody claims family %q (%s); describe it by claimGolden", name, filepath.Base(files[name])))
		}
	}
	return errors.Join(errs...)
}

// checkCase refuses what the drivers would silently leave out.
func (f goldenFamily) checkCase(c goldenCase) error {
	if c.Operator != f.operator {
		return fmt.Errorf("the operator is %q, family %q runs %q", c.Operator, f.name, f.operator)
	}
	if c.Compare != "" && c.Compare != "per_key" {
		return fmt.Errorf("nobody knows how to compare %q", c.Compare)
	}
	return nil
}

// newSubject makes the subject of a case and sees to it that the family has looked at the parameters.
func (f goldenFamily) newSubject(c goldenCase) (goldenSubject, error) {
	s, err := f.subject(c)
	if err == nil {
		err = c.lookedAt()
	}
	return s, err
}

// onlyAsked is why the drivers do not restore the family's operator of their own accord, in words for the log; empty if they do.
func (f goldenFamily) onlyAsked(c goldenCase) string {
	if f.subject == nil {
		return ""
	}
	if s, err := f.newSubject(c); err == nil && s.traits().onlyAsked != "" {
		return "; restored only where a case asks for it, because " + s.traits().onlyAsked
	}
	return ""
}

// TestGolden replays what Apache Flink's own operators did, on every driver that runs without a job. MILLRACE_GOLDEN names a folder with
// other files of the same families; testdata/golden/README.md describes them.
func TestGolden(t *testing.T) {
	eachGolden(t, func(t *testing.T, f goldenFamily, cases []goldenCase) {
		applied := map[string]int{}
		for _, c := range cases {
			c = applyGoldenRules(goldenRules, f.name, c, applied)
			if f.replay == nil {
				replayOn(t, false, f, c)
			} else if err := replayRunner(t, f, c); err != nil {
				t.Errorf("%s %s:\n%v", c.ID, c.Params, err)
			}
		}
		how := "replayed in memory, on Pebble, and on Pebble with restores at other parallelisms"
		if f.replay != nil {
			how = "replayed outside of a graph: " + f.why
		}
		t.Logf("%s: %d cases %s%s", f.name, len(cases), how, f.onlyAsked(cases[0]))
		logRules(t, applied)
	})
}

// eachGolden calls f for each claimed family of the folder, in a test of its own.
func eachGolden(t *testing.T, f func(t *testing.T, f goldenFamily, cases []goldenCase)) {
	dir, own := goldenFolder()
	files, err := goldenFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkClaims(goldenClaims, files, own); err != nil {
		t.Error(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s holds no family", dir)
	}
	for _, family := range goldenClaims {
		if files[family.name] == "" {
			continue
		}
		t.Run(family.name, func(t *testing.T) {
			t.Parallel()
			cases, err := readGolden(files[family.name])
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				if err := family.checkCase(c); err != nil {
					t.Fatalf("%s: %v", c.ID, err)
				}
			}
			f(t, family, cases)
		})
	}
}

// goldenDriver is one way to run a subject.
type goldenDriver struct {
	name   string
	job    bool
	replay func(t *testing.T, f goldenFamily, c goldenCase) error
}

// goldenDrivers are all of them.
var goldenDrivers = []goldenDriver{
	harnessDriver("memory", false), harnessDriver("pebble", false), harnessDriver("pebble", true),
	jobDriver("memory", 1), jobDriver("pebble", 3),
}

func harnessDriver(backend string, rescale bool) goldenDriver {
	name := "harness on " + backend
	if rescale {
		name += ", with restores that nobody asked for"
	}
	return goldenDriver{name, false, func(t *testing.T, f goldenFamily, c goldenCase) error {
		s, err := f.newSubject(c)
		if err != nil {
			return err
		}
		return replayHarness(t, s, c, backend, rescale)
	}}
}

func jobDriver(backend string, parallelism int) goldenDriver {
	return goldenDriver{fmt.Sprintf("job on %s that begins in %d subtasks", backend, parallelism), true,
		func(t *testing.T, f goldenFamily, c goldenCase) error {
			s, err := f.newSubject(c)
			if err != nil {
				return err
			}
			return replayJob(t, s, c, backend, parallelism)
		}}
}

// replayOn runs one case on the drivers that are jobs, or on those that are not.
func replayOn(t *testing.T, jobs bool, f goldenFamily, c goldenCase) {
	for _, d := range goldenDrivers {
		if d.job != jobs {
			continue
		}
		if err := d.replay(t, f, c); err != nil {
			t.Errorf("%s %s, %s, seed %d:\n%v", c.ID, c.Params, d.name, goldenSeed(), err)
			return
		}
	}
}
