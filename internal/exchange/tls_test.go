package exchange

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// selfSigned makes a certificate for 127.0.0.1 that vouches for itself.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "worker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLS: both sides know each other by their certificates; one that the other does not know is refused, on either side, and without TLS there is no connection.
func TestTLS(t *testing.T) {
	mine, trusted := selfSigned(t)
	_, others := selfSigned(t)
	config := func(roots, clients *x509.CertPool) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{mine}, RootCAs: roots, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	}
	tcp := overTCP()
	tcp.TLS = config(trusted, trusted)
	f := newFar(t, t.Context(), 1, tcp, serde.MustFor[string]())
	sent := make(chan error, 1)
	long := strings.Repeat("long", 100)
	go func() {
		send := ToOne(f.w, 0)
		for range 5000 {
			if err := send(long); err != nil {
				sent <- err
				return
			}
		}
		sent <- f.w.Control(Control{Kind: End})
	}()
	if _, err := f.receive(0, End); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil || len(f.seen[0]) != 5000 || f.seen[0][4999].value != long {
		t.Errorf("%d records, %v", len(f.seen[0]), err)
	}
	for name, c := range map[string]*tls.Config{"server": config(others, trusted), "client": config(trusted, others)} {
		tcp.TLS = c
		err := tcp.Loop(t.Context(), NewLink(Identity{"job", "1", "a", "b"}), NewLink(Identity{"job", "1", "b", "a"}), func(error) {})
		if err == nil || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") || !strings.Contains(err.Error(), "TLS with") {
			t.Errorf("a %s that is not known: %v", name, err)
		}
	}
}
