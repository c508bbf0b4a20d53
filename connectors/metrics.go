package connectors

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds a collector to r and returns it, or the one that an earlier attempt of the same task has added under the same name, so that
// its counts go on. When r refuses c for another reason, c works and is not exported.
func Register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if are, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(c)); ok {
		if old, ok := are.ExistingCollector.(C); ok {
			return old
		}
	}
	return c
}
