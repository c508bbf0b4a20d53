package operators_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// compareGolden compares what the subtasks of an operator put out in one step with what the logical operator should. One subtask must keep
// the order of the vectors; between several there is none, so each key's outputs are compared by themselves, and each subtask's control
// elements. The side outputs stand behind the main output in no order relative to it.
func compareGolden(c goldenCase, want []goldenOutput, got [][]goldenOutput) error {
	err := compareClasses(c, want, got)
	if err == nil {
		return nil
	}
	var b strings.Builder
	for i, os := range got {
		fmt.Fprintf(&b, "\n  subtask %d: %v", i, os)
	}
	return fmt.Errorf("%w\n  want:      %v%s", err, want, b.String())
}

func compareClasses(c goldenCase, want []goldenOutput, got [][]goldenOutput) error {
	for _, class := range outputClasses(append([][]goldenOutput{want}, got...)) {
		of := func(os []goldenOutput) []goldenOutput {
			return keepOutputs(os, func(o goldenOutput) bool { return outputClass(o) == class })
		}
		w, g := of(want), make([][]goldenOutput, len(got))
		for i := range got {
			g[i] = of(got[i])
		}
		switch {
		case c.Compare == "per_key":
			if err := samePerKey(w, g, false); err != nil {
				return err
			}
		case len(got) == 1:
			if err := sameGolden(w, g[0]); err != nil {
				return err
			}
		default:
			if err := samePerKey(w, g, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// outputClass is "" for the main output and the tag for a side output.
func outputClass(o goldenOutput) string {
	tag, side := strings.CutPrefix(o.Kind, "side:")
	if !side {
		return ""
	}
	return tag
}

func outputClasses(all [][]goldenOutput) []string {
	classes := map[string]bool{}
	for _, os := range all {
		for _, o := range os {
			classes[outputClass(o)] = true
		}
	}
	return slices.Sorted(maps.Keys(classes))
}

// sameGolden compares by the order rule of the format: neighbours with the same g are a multiset, everything else stands where it is.
func sameGolden(want, got []goldenOutput) error {
	for i := 0; i < len(want); {
		end := i + 1
		for want[i].G != nil && end < len(want) && want[end].G != nil && *want[end].G == *want[i].G {
			end++
		}
		if end > len(got) {
			return fmt.Errorf("%d outputs, want %d: %v is missing or one before it", len(got), len(want), want[end-1])
		}
		if w, g := goldenTexts(want[i:end]), goldenTexts(got[i:end]); !slices.Equal(w, g) {
			return fmt.Errorf("at output %d: got %q, want %q", i, g, w)
		}
		i = end
	}
	if len(got) > len(want) {
		return fmt.Errorf("%d outputs, want %d: %v is one too many", len(got), len(want), got[len(want)])
	}
	return nil
}

// samePerKey compares the outputs of each key, which must all come from one subtask, and the control elements, which must be the same
// everywhere. With among, the control elements must also stand where they should among the outputs of each key.
func samePerKey(want []goldenOutput, got [][]goldenOutput, among bool) error {
	at := map[string]int{} // the subtask of each key
	for i, os := range got {
		if err := sameGolden(keepOutputs(want, goldenOutput.control), keepOutputs(os, goldenOutput.control)); err != nil {
			return fmt.Errorf("control elements of subtask %d: %w", i, err)
		}
		for _, o := range os {
			if o.control() {
				continue
			}
			if j, ok := at[o.Key]; ok && j != i {
				return fmt.Errorf("key %q is put out by subtasks %d and %d", o.Key, j, i)
			}
			at[o.Key] = i
		}
	}
	for _, o := range want {
		if _, ok := at[o.Key]; !ok && !o.control() {
			return fmt.Errorf("nothing of key %q, want %v", o.Key, o)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(at)) {
		mine := func(o goldenOutput) bool { return o.control() && among || !o.control() && o.Key == key }
		if err := sameGolden(keepOutputs(want, mine), keepOutputs(got[at[key]], mine)); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return nil
}

func keepOutputs(os []goldenOutput, f func(goldenOutput) bool) []goldenOutput {
	var out []goldenOutput
	for _, o := range os {
		if f(o) {
			out = append(out, o)
		}
	}
	return out
}

func goldenTexts(os []goldenOutput) []string {
	var texts []string
	for _, o := range os {
		texts = append(texts, o.String())
	}
	slices.Sort(texts)
	return texts
}
