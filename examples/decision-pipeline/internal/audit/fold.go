package audit

import "github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"

// Fold computes the variable of a customer from the newest versions of all its decisions, in the plainest way there is: no state
// carried over, every definition read off model.Variable. It is what the pipeline's incremental fold is compared with.
func Fold(customer string, decisions []model.Decision) (model.Variable, error) {
	v := model.Variable{Customer: customer}
	var err error
	for _, d := range decisions {
		v.Count++
		v.Version += d.Version
		if d.Outcome == model.Rejected {
			v.Rejected++
		}
		if v.Sum, err = v.Sum.Add(d.Amount); err != nil {
			return v, err
		}
		if v.LastID == "" || d.DecidedAt.After(v.LastDecidedAt) || d.DecidedAt.Equal(v.LastDecidedAt) && d.ID > v.LastID {
			v.LastID, v.LastOutcome, v.LastDecidedAt = d.ID, d.Outcome, d.DecidedAt
		}
	}
	for _, d := range decisions {
		if d.DecidedAt.After(v.LastDecidedAt.Add(-model.RollingWindow)) {
			v.DayCount++
			if v.DaySum, err = v.DaySum.Add(d.Amount); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}
