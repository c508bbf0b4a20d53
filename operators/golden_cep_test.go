package operators_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/pattern"
)

var _ = claimGolden(goldenFamily{name: "cep", subject: patternSubject})

// patternParams are the parameters of a case of the family cep.
type patternParams struct {
	Pattern []patternStage
	Skip    struct {
		Type string
		Name *string
	}
	Within     *int64
	WithinType string `json:"within_type"`
}

type patternStage struct {
	Name     string
	Link     string
	Group    []patternStage
	Where    patternCondition
	Until    *patternCondition
	Times    *patternTimes
	Optional bool
}

type patternTimes struct {
	Min    int
	Max    *int
	Inner  string
	Greedy bool
}

type patternCondition struct {
	Letters          *string
	Min              *int64
	GreaterThanAllOf *string `json:"greater_than_all_of"`
}

// patternResult is what the pattern step of a case emits.
type patternResult struct{ key, text string }

func patternSubject(c goldenCase) (goldenSubject, error) {
	var p patternParams
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	q, err := goldenPattern(p)
	if err != nil {
		return nil, err
	}
	// The vectors hold what Flink did, whose timers miss some of the deadlines: FlinkTimeouts.
	stage := pattern.Stage(goldenKey, nil, q, pattern.Options[goldenRecord]{MaxPartialMatches: -1, FlinkTimeouts: true},
		func(k string, m pattern.Match[goldenRecord]) patternResult { return patternResult{k, patternText(m)} })
	return oneInput(stage, func(v patternResult, o *goldenOutput) { o.Key, o.Value = v.key, v.text }).
		side("timeout", pattern.TimedOut[goldenRecord](), func(m pattern.Match[goldenRecord], o *goldenOutput) {
			o.Key, o.Value = m.Stages[0].Events[0].Key, patternText(m)
		}).late(), nil
}

// patternText is "p0=a1,a2 p1=b3".
func patternText(m pattern.Match[goldenRecord]) string {
	var stages []string
	for _, s := range m.Stages {
		var events []string
		for _, e := range s.Events {
			events = append(events, e.Text)
		}
		stages = append(stages, s.Stage+"="+strings.Join(events, ","))
	}
	return strings.Join(stages, " ")
}

func goldenPattern(p patternParams) (pattern.Pattern[goldenRecord], error) {
	q, err := goldenStages(p.Pattern)
	if err != nil {
		return q, err
	}
	if p.Within != nil {
		d := time.Duration(*p.Within) * time.Millisecond
		switch last := p.Pattern[len(p.Pattern)-1]; p.WithinType {
		case "first_and_last":
			q = q.Within(d)
		case "previous_and_current":
			// In Flink it is the last stage's, and only if that has neither quantifier nor event before it.
			if last.Times == nil && last.Group == nil && len(p.Pattern) > 1 {
				q = q.WithinPrevious(d)
			}
		default:
			return q, fmt.Errorf("within type %q", p.WithinType)
		}
	}
	name := ""
	if p.Skip.Name != nil {
		name = *p.Skip.Name
	}
	skip, ok := map[string]pattern.SkipStrategy{"no_skip": pattern.NoSkip(), "to_next": pattern.SkipToNext(), "past_last_event": pattern.SkipPastLastEvent(),
		"to_first": pattern.SkipToFirst(name), "to_last": pattern.SkipToLast(name)}[p.Skip.Type]
	if !ok {
		return q, fmt.Errorf("skip strategy %q", p.Skip.Type)
	}
	return q.AfterMatch(skip), nil
}

func goldenStages(stages []patternStage) (pattern.Pattern[goldenRecord], error) {
	var q pattern.Pattern[goldenRecord]
	for _, s := range stages {
		var err error
		if s.Group != nil {
			q, err = addGoldenGroup(q, s)
		} else {
			q, err = addGoldenStage(q, s)
		}
		if err != nil {
			return q, err
		}
		if q, err = quantifyGolden(q, s); err != nil {
			return q, err
		}
	}
	return q, nil
}

func addGoldenStage(q pattern.Pattern[goldenRecord], s patternStage) (pattern.Pattern[goldenRecord], error) {
	switch s.Link {
	case "begin":
		q = pattern.Begin[goldenRecord](s.Name)
	case "next":
		q = q.Next(s.Name)
	case "followed_by":
		q = q.FollowedBy(s.Name)
	case "followed_by_any":
		q = q.FollowedByAny(s.Name)
	case "not_next":
		q = q.NotNext(s.Name)
	case "not_followed_by":
		q = q.NotFollowedBy(s.Name)
	default:
		return q, fmt.Errorf("link %q", s.Link)
	}
	if f := s.Where.simple(); f != nil {
		q = q.Where(f)
	}
	if name := s.Where.GreaterThanAllOf; name != nil {
		q = q.WhereIterative(func(r goldenRecord, m *pattern.Partial[goldenRecord]) bool {
			for _, e := range m.Events(*name) {
				if patternNumber(r) <= patternNumber(e) {
					return false
				}
			}
			return true
		})
	}
	return q, nil
}

func addGoldenGroup(q pattern.Pattern[goldenRecord], s patternStage) (pattern.Pattern[goldenRecord], error) {
	g, err := goldenStages(s.Group)
	switch s.Link {
	case "begin":
		return pattern.BeginGroup(g), err
	case "next":
		return q.NextGroup(g), err
	case "followed_by":
		return q.FollowedByGroup(g), err
	case "followed_by_any":
		return q.FollowedByAnyGroup(g), err
	}
	return q, fmt.Errorf("link %q of a group", s.Link)
}

func quantifyGolden(q pattern.Pattern[goldenRecord], s patternStage) (pattern.Pattern[goldenRecord], error) {
	if t := s.Times; t != nil {
		switch {
		case t.Max == nil:
			q = q.TimesOrMore(t.Min)
		default:
			q = q.TimesRange(t.Min, *t.Max)
		}
		switch t.Inner {
		case "relaxed":
		case "consecutive":
			q = q.Consecutive()
		case "combinations":
			q = q.AllowCombinations()
		default:
			return q, fmt.Errorf("contiguity %q", t.Inner)
		}
		if t.Greedy {
			q = q.Greedy()
		}
	}
	if s.Until != nil {
		q = q.Until(s.Until.simple())
	}
	if s.Optional {
		q = q.Optional()
	}
	return q, nil
}

// simple is the part of the condition that looks at the record alone.
func (c patternCondition) simple() func(goldenRecord) bool {
	if c.Letters == nil && c.Min == nil {
		return nil
	}
	return func(r goldenRecord) bool {
		return (c.Letters == nil || strings.ContainsRune(*c.Letters, rune(r.Text[0]))) && (c.Min == nil || patternNumber(r) >= *c.Min)
	}
}

func patternNumber(r goldenRecord) int64 {
	n, err := strconv.ParseInt(r.Text[1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// sameTimestampAfterRestore is the first record behind a restore that has the timestamp of an event that its key has already seen: without
// the watermark, which vectors forget at a restore, it is not late.
func sameTimestampAfterRestore(c goldenCase) (step int, ok bool) {
	type at struct {
		key  goldenText
		tsMS int64
	}
	var waiting []at
	seen, restored, watermark := map[at]bool{}, false, operators.NoWatermark
	for i, s := range c.Steps {
		switch s.Op {
		case "record":
			r := at{s.Key, s.tsMS()}
			if r.tsMS <= watermark {
				continue // late
			}
			if restored && seen[r] {
				return i, true
			}
			waiting = append(waiting, r)
		case "watermark":
			watermark = *s.TS
			waiting = slices.DeleteFunc(waiting, func(r at) bool {
				seen[r] = seen[r] || r.tsMS <= *s.TS
				return r.tsMS <= *s.TS
			})
		case "snapshot_restore":
			restored, watermark = true, operators.NoWatermark
		}
	}
	return 0, false
}
