package entropy_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves “an agent pointed at the wrong port”: what answers is named for what it is
func TestClientNotEntropy(t *testing.T) {
	html := httptest.NewServer(http.NotFoundHandler())
	defer html.Close()
	c := newClient(t, entropy.ClientConfig{Server: html.URL})
	_, err := c.Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "not an Entropy control plane", "404", "7600")
	_, err = c.Register(t.Context(), entropy.Registration{})
	wantError(t, err, entropy.CodeUnavailable, "not an Entropy control plane")

	object := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"version":"1"}`)
	}))
	defer object.Close()
	_, err = newClient(t, entropy.ClientConfig{Server: object.URL}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "not an Entropy control plane")

	var followed atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	defer target.Close()
	redirect := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	_, err = newClient(t, entropy.ClientConfig{Server: redirect.URL, Token: "secret"}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "307")
	if followed.Load() {
		t.Error("a redirect was followed")
	}

	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }))
	defer proxy.Close()
	c = newClient(t, entropy.ClientConfig{Server: proxy.URL})
	_, err = c.Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "proxy")
	_, err = c.Cancel(t.Context(), "j", entropy.Operation{})
	wantError(t, err, entropy.CodeUnknown, "proxy")
}

// proves C-1: a call that waits at an address which the control plane has left ends
// when the client is pointed elsewhere; one that waits for nothing goes on.
func TestClientMoves(t *testing.T) {
	arrived, gone := make(chan string, 2), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		<-gone
		w.WriteHeader(http.StatusNoContent)
	}))
	defer silent.Close()
	defer close(gone)
	c := newClient(t, entropy.ClientConfig{Server: silent.URL})
	waiting, other := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Directives(t.Context(), entropy.DirectivesRequest{Wait: entropy.Duration(time.Minute)})
		waiting <- err
	}()
	<-arrived
	go func() {
		_, err := c.Status(t.Context())
		other <- err
	}()
	<-arrived
	if err := c.SetServer("http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-waiting, entropy.CodeUnknown, "has moved to http://127.0.0.1:1")
	select {
	case err := <-other:
		t.Errorf("the call that was under way ended: %v", err)
	default:
	}
	if err := c.SetServer(silent.URL); err != nil {
		t.Fatal(err)
	}
}

// proves the same for a port that speaks no HTTP, as NATS does
func TestClientNotHTTP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "INFO {\"server_id\":\"N\"}\r\n")
			io.CopyN(io.Discard, conn, 10)
			conn.Close()
		}
	}()
	_, err = newClient(t, entropy.ClientConfig{Server: ln.Addr().String()}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "does not speak HTTP", "7600")
}

// proves S-3, attack 11: TLS mismatches are named, and no secret goes to a stranger
func TestClientTLS(t *testing.T) {
	var secrets atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			secrets.Add(1)
		}
		w.Header().Set(entropy.HeaderAPI, "v1")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"version":"tls"}`)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are the point
	srv.StartTLS()
	defer srv.Close()
	cert := srv.Certificate()
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	pin := hex.EncodeToString(sum[:])

	_, err := newClient(t, entropy.ClientConfig{Server: srv.URL, Token: "secret"}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "not trusted", "ENTROPY_CA_FILE")
	_, err = newClient(t, entropy.ClientConfig{Server: srv.URL, Token: "secret", CAPin: strings.Repeat("ab", 32)}).Status(t.Context())
	wantError(t, err, entropy.CodeForbidden, "pinned key")
	_, err = newClient(t, entropy.ClientConfig{Server: strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), Token: "secret", CAPin: pin}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "not trusted") // the pin replaces the authority, not the name
	if secrets.Load() != 0 {
		t.Fatal("the token was sent to a server that had not proved itself")
	}
	for _, conf := range []entropy.ClientConfig{{RootCAs: pool}, {CAPin: pin}, {CAPin: "sha256:" + pin}, {HTTPClient: srv.Client()}} {
		conf.Server, conf.Token = srv.URL, "secret"
		if st, err := newClient(t, conf).Status(t.Context()); err != nil || st.Version != "tls" {
			t.Errorf("%+v %v", st, err)
		}
	}
	_, err = newClient(t, entropy.ClientConfig{Server: strings.Replace(srv.URL, "https", "http", 1)}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "speaks TLS", "https://")
	plain := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {})
	_, err = newClient(t, entropy.ClientConfig{Server: strings.Replace(plain.URL, "http", "https", 1)}).Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "does not speak TLS", "http://")
}
