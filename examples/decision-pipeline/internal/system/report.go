package system

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
)

// Report is the JSON of a run. Decisions are counted by id, whatever their number of versions; Versions is what the topic and the archive
// hold.
type Report struct {
	Decisions            int                 `json:"decisions"` // cases: stored + invalid
	Stored               int                 `json:"stored"`
	Versions             int                 `json:"versions"` // of the stored decisions: one each, and one more for each correction
	Published            int                 `json:"published"`
	Archived             int                 `json:"archived"`
	Invalid              int                 `json:"invalid"`
	DeadLetter           int                 `json:"dead_letter"`
	Lost                 int                 `json:"lost"`
	Duplicated           int                 `json:"duplicated"`
	OutOfOrder           int                 `json:"out_of_order"`
	Variables            int                 `json:"variables"`
	VariablesWrong       int                 `json:"variables_wrong"`
	Unexpected           int                 `json:"unexpected"`
	Denied               int64               `json:"denied"`
	APIP50MS             float64             `json:"api_p50_ms"`
	APIP99MS             float64             `json:"api_p99_ms"`
	VisibleP50MS         float64             `json:"visible_p50_ms"`
	VisibleP99MS         float64             `json:"visible_p99_ms"`
	VariableVisibleP99MS float64             `json:"variable_visible_p99_ms"`
	Checkpoints          uint64              `json:"checkpoints"`
	Restarts             int                 `json:"restarts"`
	WallS                float64             `json:"wall_s"`
	DecisionsPerS        float64             `json:"decisions_per_s"`
	PeakRSSMB            float64             `json:"peak_rss_mb"`
	Discrepancies        []audit.Discrepancy `json:"discrepancies,omitempty"`

	// allowDuplicates: the run was asked for at-least-once, and killed.
	allowDuplicates bool
}

// OK reports whether the audit holds. Repetitions in the topics are no fault of a run that was asked for at-least-once; anything else is.
func (r Report) OK() bool {
	return r.Lost == 0 && r.OutOfOrder == 0 && r.VariablesWrong == 0 && r.Unexpected == 0 && (r.Duplicated == 0 || r.allowDuplicates)
}

func (r *Report) take(a audit.Result) {
	r.Stored, r.Versions, r.Published, r.Archived = a.Stored, a.Versions, a.Published, a.Archived
	r.Invalid, r.DeadLetter, r.Lost, r.Duplicated, r.OutOfOrder = a.Invalid, a.DeadLetter, a.Lost, a.Duplicated, a.OutOfOrder
	r.Variables, r.VariablesWrong, r.Unexpected, r.Discrepancies = a.Variables, a.VariablesWrong, a.Unexpected, a.Discrepancies
}

// WriteJSON writes the report as one line.
func (r Report) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("decision-pipeline: report: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// WriteTable writes the report for people, with every discrepancy.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nstored\t%d decisions, %d versions\t\n", r.Stored, r.Versions)
	fmt.Fprintf(t, "in the topic\t%d decisions\tread committed\n", r.Published)
	fmt.Fprintf(t, "in the archive\t%d decisions\t\n", r.Archived)
	fmt.Fprintf(t, "variables\t%d customers\t%d wrong\n", r.Variables, r.VariablesWrong)
	fmt.Fprintf(t, "invalid items\t%d\t%d in the dead-letter topic\n", r.Invalid, r.DeadLetter)
	fmt.Fprintf(t, "lost\t%d\t\nduplicated\t%d\t\nout of order\t%d\t\nunexpected\t%d\t\n", r.Lost, r.Duplicated, r.OutOfOrder, r.Unexpected)
	fmt.Fprintf(t, "denied at once\t%d\t\n", r.Denied)
	fmt.Fprintf(t, "API\tp50 %.1f ms\tp99 %.1f ms\n", r.APIP50MS, r.APIP99MS)
	fmt.Fprintf(t, "visible in Kafka\tp50 %.1f ms\tp99 %.1f ms\n", r.VisibleP50MS, r.VisibleP99MS)
	fmt.Fprintf(t, "visible as variable\t\tp99 %.1f ms\n", r.VariableVisibleP99MS)
	fmt.Fprintf(t, "checkpoints\t%d\t%d restarts\n", r.Checkpoints, r.Restarts)
	fmt.Fprintf(t, "time\t%.1f s\t%.0f decisions/s\n", r.WallS, r.DecisionsPerS)
	fmt.Fprintf(t, "peak memory\t%.0f MB\tall processes\n", r.PeakRSSMB)
	if err := t.Flush(); err != nil {
		return err
	}
	for _, d := range r.Discrepancies {
		if _, err := fmt.Fprintf(w, "%s: %d: %s\n", d.Kind, d.Count, strings.Join(d.IDs, ", ")); err != nil {
			return err
		}
	}
	verdict := "The audit holds."
	if !r.OK() {
		verdict = "The audit FAILS."
	} else if r.Duplicated > 0 {
		verdict = "The audit holds: repetitions are what -delivery at-least-once allows."
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}

// ms is d in milliseconds with two decimal places.
func ms(d time.Duration) float64 { return math.Round(d.Seconds()*1e5) / 100 }

// round1 rounds to one decimal place.
func round1(f float64) float64 { return math.Round(f*10) / 10 }
