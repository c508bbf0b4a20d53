package dynamodbtest

import "time"

// Call is one request.
type Call struct {
	// N counts from 1 in order of arrival.
	N int
	// Operation is the name without the version, e.g. PutItem or GetRecords.
	Operation string
	// Table is the table the call is about; of a batch or transaction the first one; of a stream call the table of the stream.
	// Empty for calls about no table.
	Table string
	// Shard is set for GetShardIterator and GetRecords.
	Shard string
	At    time.Time
	// Body is the JSON of the request, valid during the fault function only; nil in Calls.
	Body []byte
	// Err is the error that was answered; nil for success. Set in Calls only.
	Err *Error
	// Lost says that the answer was not delivered. Set in Calls only.
	Lost bool
}

// Fault is what goes wrong with a call. Parts that are set happen in the order of the fields.
type Fault struct {
	// Delay before anything else. It ends early when the client goes away; the call is then not carried out.
	Delay time.Duration
	// Err is answered and the call is not carried out. For throttling set Code, and Reasons where wanted.
	Err *Error
	// Status answers this HTTP status with an empty body, as a proxy would; the call is not carried out.
	Status int
	// DropBefore breaks the connection before the call is carried out: to the client the outcome is unknown.
	DropBefore bool
	// Late breaks the connection at once and carries the call out after this delay, as a network may deliver a request long after its
	// sender gave up. Close ends the wait; the call is then not carried out.
	Late time.Duration
	// Unprocessed are the indices of the requests of a BatchWriteItem or BatchGetItem, counted through all tables in order of table
	// name and then as sent, that are left undone and answered as unprocessed. When all are, the answer is
	// ProvisionedThroughputExceededException.
	Unprocessed []int
	// DropAfter carries the call out and breaks the connection instead of answering: to the client the outcome is unknown.
	DropAfter bool
	// DelayAfter waits between carrying out and answering.
	DelayAfter time.Duration
	// Truncate carries the call out, sends half of the answer and breaks the connection.
	Truncate bool
}

// Fault sets the function that decides about each call; nil removes it. It returns nil for a call that goes well. It is called
// without any lock held, by many goroutines at once.
func (s *Server) Fault(f func(*Call) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Calls returns the latest calls (Options.CallLogMax) in order of their end.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) < s.opts.CallLogMax {
		return append([]Call(nil), s.calls...)
	}
	at := s.logged % len(s.calls)
	return append(append([]Call(nil), s.calls[at:]...), s.calls[:at]...)
}

// ResetCalls forgets the calls so far; N goes on.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.logged = nil, 0
}

func (s *Server) log(c Call) {
	c.Body = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) < s.opts.CallLogMax {
		s.calls = append(s.calls, c)
	} else {
		s.calls[s.logged%len(s.calls)] = c
	}
	s.logged++
}
