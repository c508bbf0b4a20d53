package runtime

import (
	"github.com/millrace-io/millrace/serde"
	"go.uber.org/zap"
)

// derivedEdges names the edges whose records are encoded, for a checkpoint or another process, by the codec that package serde derives
// by reflection. Edges that never encode anything have no codec and are not among them.
func (p *Plan) derivedEdges() []string {
	var names []string
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			if serde.IsDerived(e.codec.serde) {
				names = append(names, e.name)
			}
		}
	}
	return names
}

// reportDerived tells once at the start of a job where a generated codec would save CPU time.
func (j *Job) reportDerived() {
	if names := j.plan.derivedEdges(); len(names) > 0 {
		j.cfg.Logger.Info("records of these edges are encoded by derived codecs; `millrace gen` writes faster ones for their types",
			zap.String("job", j.plan.Name), zap.Strings("edges", names))
	}
}
