package dynamodbstreams

import (
	"testing"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
)

// family is a stream with a root, three children and their grandchildren.
func family() *model {
	st := newModel()
	st.some(40, 11)
	st.split(0, 3)
	st.some(40, 11)
	st.rollOver()
	st.some(40, 11)
	return st
}

func TestConformance(t *testing.T) {
	connectortest.TestSource(t, connectortest.SourceSuite[row]{
		New: func(*testing.T) connectors.Source[row] {
			return family().source(func(o *Options[row]) { o.PageRecords = 7 })
		},
		Want: family().all, ID: rowID, Key: rowKey, Bubble: true,
	})
}
