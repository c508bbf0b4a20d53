package operators_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/operators"
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
	if err == nil && !*c.decoded {
		err = errors.New("the family never looks at the parameters; call decodeParams")
	}
	return s, err
}

// goldenRule is a difference between Flink and millrace that is meant. Each stands in docs of what differs.
type goldenRule struct {
	name, reason string
	families     []string
	// adjust takes from the expected outputs of a case what only Flink promises; changed says that there was something.
	adjust func(c goldenCase) (expect [][]goldenOutput, changed bool)
}

// goldenRules are all of them. Nothing else is left out or changed.
var goldenRules = []goldenRule{
	{"growing watermarks", "Flink's bare generator emits at every periodic call; only watermarks that grow ever leave an operator",
		[]string{"watermark_generator"}, onlyGrowing},
}

// apply applies the rules that concern the family, and counts the cases that each has changed.
func applyGoldenRules(rules []goldenRule, family string, c goldenCase, applied map[string]int) goldenCase {
	for _, r := range rules {
		if !slices.Contains(r.families, family) {
			continue
		}
		expect, changed := r.adjust(c)
		if changed {
			applied[r.name]++
			c.Expect = expect
		}
	}
	return c
}

// onlyGrowing drops watermarks that do not grow.
func onlyGrowing(c goldenCase) (expect [][]goldenOutput, changed bool) {
	last := operators.NoWatermark
	expect = make([][]goldenOutput, len(c.Expect))
	for i, step := range c.Expect {
		for _, o := range step {
			if o.Kind == "watermark" && *o.TS <= last {
				changed = true
				continue
			}
			if o.Kind == "watermark" {
				last = *o.TS
			}
			expect[i] = append(expect[i], o)
		}
	}
	return expect, changed
}

// TestGolden replays what Apache Flink's own operators did, on every driver that runs without a job. MILLRACE_GOLDEN names a folder with
// other files of the same families; testdata/golden/README.md describes them.
func TestGolden(t *testing.T) {
	eachGolden(t, func(t *testing.T, f goldenFamily, cases []goldenCase) {
		applied := map[string]int{}
		for _, c := range cases {
			c = applyGoldenRules(goldenRules, f.name, c, applied)
			if err := replayEverywhere(t, f, c); err != nil {
				t.Errorf("%s %s\n%v", c.ID, c.Params, err)
			}
		}
		how := "replayed in memory, on Pebble, and on Pebble with restores at other parallelisms"
		if f.replay != nil {
			how = "replayed outside of a graph: " + f.why
		}
		t.Logf("%d cases %s", len(cases), how)
		for _, r := range goldenRules {
			if n := applied[r.name]; n > 0 {
				t.Logf("rule %q concerns %d of them: %s", r.name, n, r.reason)
			}
		}
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

// replayEverywhere runs one case on the drivers of the harness.
func replayEverywhere(t *testing.T, f goldenFamily, c goldenCase) error {
	if f.replay != nil {
		return replayRunner(t, f, c)
	}
	for _, d := range []struct {
		backend string
		rescale bool
	}{{"memory", false}, {"pebble", false}, {"pebble", true}} {
		s, err := f.newSubject(c)
		if err == nil {
			err = replayHarness(t, s, c, d.backend, d.rescale)
		}
		if err != nil {
			return fmt.Errorf("%s%s: %w", d.backend, strings.Repeat(", with restores", b2i(d.rescale)), err)
		}
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
