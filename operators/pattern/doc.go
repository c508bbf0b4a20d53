// Package pattern finds sequences of events in keyed streams (complex event processing).
//
//	p := pattern.Begin[Login]("failed").Where(failed).TimesOrMore(3).Consecutive().
//		FollowedBy("ok").Where(succeeded).
//		Within(10 * time.Minute)
//	hits := logins.KeyBy(account).Pattern("break-in", p, alarm)
//
// # What is a match
//
// The events of each key are compared in the order of time; events of one time in the order of arrival. A pattern is a list of stages. A stage takes
// one event that meets its conditions, or several with a quantifier, or none if it is optional; a group is a list of stages used as one.
// Where and Or join conditions in the order in which they are called: Where(a).Or(b).Where(c) is (a or b) and c. A stage without condition
// takes any event. Conditions are pure functions; those with a Partial also see what this partial match has taken.
//
// A match begins with every event that the first stage takes, so matches overlap, and one event may be in many. What may lie between the event
// before and the first one of a stage is the contiguity of its link:
//
//	Next            nothing: the very next event must match, or the partial match dies
//	FollowedBy      events that do not match are passed over; the first that matches is taken
//	FollowedByAny   as FollowedBy, and one that matches is both taken and passed over: two partial matches
//	NotNext         the very next event must not match
//	NotFollowedBy   no event may match until the next stage has taken one; at the end of a pattern, until the time of Within is over
//
// An event that meets both a NotFollowedBy and the stage behind it refutes the match, unless it completes it; and between the events of a TimesRange
// behind a NotFollowedBy, that still holds once an event was passed over. Both are as in Flink.
//
// Between the events of a loop the same three hold: Consecutive, relaxed (the default) and AllowCombinations. An open loop (OneOrMore, TimesOrMore)
// matches with every number of events from the least on: a+ b over a1 a2 b matches a1 b, a2 b and a1 a2 b. A greedy loop takes an event whenever
// it can instead of also leaving it to the next stage. Until ends an open loop: the event that meets it is not taken. If the last
// stages are optional or an open loop, a match is passed on as soon as it is complete, and again with each event that makes it longer.
// A pattern whose stages are all optional gives no empty matches.
//
// # Time
//
// Within bounds the time from the first to the last event of a match, WithinPrevious that from the event before to each of a stage; both exclude
// their end. A partial match that has outlived them is dropped and passed on to the side output TimedOut with its deadline as
// timestamp. Without a bound the partial matches of a relaxed pattern wait for ever: Within is the rule, a pattern without it the exception.
//
// # Which matches survive
//
// AfterMatch says what a match discards (NoSkip: nothing). With another strategy a match waits until no partial match began before
// it; then it is passed on and discards the matches, partial or complete, that began
//
//	SkipToNext               with its first event, or before
//	SkipPastLastEvent        up to its last event
//	SkipToFirst(stage)       before the first event of the stage
//	SkipToLast(stage)        before the last event of the stage
//
// Of several matches that begin with one event, the strategies other than SkipToFirst and SkipToLast let through one; which one is as in Flink.
//
// # Bounds
//
// The number of partial matches can double with each event (AllowCombinations, FollowedByAny behind a loop). Options.MaxPartialMatches bounds
// it for each key. An event that would exceed it leaves everything as it was; it goes to the step's dead letters if the graph consumes them,
// and fails the task if not. Flink has no such bound and runs out of memory.
//
// # Flink
//
//	millrace                              Flink
//	Begin[T](name), BeginGroup(p)         Pattern.<T>begin(name), begin(pattern)
//	Next, FollowedBy, FollowedByAny       next, followedBy, followedByAny
//	NextGroup, FollowedByGroup, …         next(pattern), followedBy(pattern), …
//	NotNext, NotFollowedBy                notNext, notFollowedBy
//	Where, Or                             where, or with a SimpleCondition
//	WhereIterative, OrIterative           where, or with an IterativeCondition; Partial.Events is ctx.getEventsForPattern
//	Until, UntilIterative                 until
//	Times(n), TimesRange(a, b)            times(n), times(a, b)
//	TimesOrMore(n), OneOrMore             timesOrMore(n), oneOrMore
//	Optional, Greedy                      optional, greedy
//	Consecutive, AllowCombinations        consecutive, allowCombinations
//	Within(d)                             within(d)
//	WithinPrevious(d)                     within(d, WithinType.PREVIOUS_AND_CURRENT)
//	AfterMatch(SkipToFirst(s))            begin(name, AfterMatchSkipStrategy.skipToFirst(s))
//	SkipStrategy.FailOnMiss               throwExceptionOnMiss
//	side outputs TimedOut, LateRecords    TimedOutPartialMatchHandler, sideOutputLateData
//	Options.ProcessingTime                PatternStream.inProcessingTime
//
// The matches are those of Flink 2.3, in its order; its recorded outputs are replayed by the tests. Differences: conditions that look at the event alone
// are called once for an event, not once for each partial match. WithinPrevious has timers and holds for all events of a stage, where Flink forgets it for stages
// with quantifiers, once an event was passed over before an optional stage, and while no record comes; what waited for the end of a time has that time, not
// that of the watermark (Options.FlinkTimeouts brings all that back).
// Flink's EventComparator has no counterpart: events of one time stand in the order of arrival. subtype is a condition with a type
// assertion. Faults of a pattern are reported together when the graph is built; Flink throws at the first.
package pattern
