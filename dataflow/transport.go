package dataflow

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/millrace-io/millrace/internal/exchange"
)

// Transport is how records travel between tasks; TCP makes one. Within a task, between steps that are chained, records are arguments of function calls
// whatever the transport.
//
// With a transport every edge between tasks needs a codec: that of Stream.WithCodec, or the one derived of the type of its records. Validate names
// all edges that have none. What the codec does not keep (see package serde) is lost on the way: with the derived one the location of a time, what is finer than
// the unit of a time, and the difference between nil and empty. Whoever sends pointers gets copies.
type Transport interface {
	validate() error
	transport() *exchange.TCP
}

// TCPOptions say how processes of a job connect. The zero value connects over the loopback interface, at a free port, without TLS.
type TCPOptions struct {
	// Addr is the address to listen on, host:port; port 0 is a free one. Default "127.0.0.1:0". The port is open while an attempt of the job starts, and closed
	// as soon as it is connected.
	Addr string
	// TLS encrypts the connections and says who may connect. It is used on both sides: Certificates show who this process is, RootCAs verify the one that
	// it calls, and ClientAuth with ClientCAs those that call. ServerName is by default the host of the address. Default nil: nothing is encrypted, and
	// who can reach the address and knows the name of the attempt may send records.
	TLS *tls.Config
	// Timeout bounds how long it takes to connect and to agree on the job, its edges and codecs. Default 10 s; at least 1 ms. An attempt that is not connected
	// by then has failed, and the job starts again as after any failure (Restart).
	Timeout time.Duration
	// Listen and Dial make the connections in place of package net, such as through a proxy; network is "tcp". Defaults are those of net.ListenConfig and
	// net.Dialer, with keep-alive probes that find a dead peer within some 30 s.
	Listen func(ctx context.Context, network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// TCP sends the records of all edges between tasks over one TCP connection for each pair of processes. A job runs in one process today: it connects to itself, which proves that a graph
// can be distributed. With the codecs it costs some 50 ns of CPU a record of one number more, and 200 to 300 ns a record of some fields (docs/BENCHMARKS.md).
//
// Nothing else changes: order, backpressure, checkpoints, also those whose barriers overtake records, and restarts are those of a job without transport. A connection
// that breaks fails the attempt, and the job goes back to its last checkpoint.
func TCP(o TCPOptions) Transport { return tcpTransport{o} }

type tcpTransport struct{ o TCPOptions }

// keepAlive finds a peer whose machine is gone within some 30 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

func (t tcpTransport) validate() error {
	var errs []error
	if o := t.o; o.Addr != "" {
		if _, _, err := net.SplitHostPort(o.Addr); err != nil {
			errs = append(errs, fmt.Errorf("dataflow: TCPOptions.Addr is %q, want host:port: %w", o.Addr, err))
		}
	}
	if t.o.Timeout != 0 && t.o.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("dataflow: TCPOptions.Timeout is %v, want at least 1ms", t.o.Timeout))
	}
	if c := t.o.TLS; c != nil && len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		errs = append(errs, errors.New("dataflow: TCPOptions.TLS has no certificate; set Certificates: the same configuration serves the side that is called"))
	}
	return errors.Join(errs...)
}

func (t tcpTransport) transport() *exchange.TCP {
	c := &exchange.TCP{Addr: t.o.Addr, TLS: t.o.TLS, Timeout: t.o.Timeout, Listen: t.o.Listen, Dial: t.o.Dial}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Listen == nil {
		c.Listen = (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	return c
}
