package entropy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Limits of requests and answers, in bytes.
const (
	maxReply   = 1 << 30   // a claim of MaxBatch jobs with the largest specs fits
	maxProblem = 256 << 10 // an error answer
	bigUpload  = 1 << 20   // from here on, ask with Expect: 100-continue before sending
	slowest    = 64 << 10  // bytes a second: how slow a link may be for a large request to get its time
)

// call is one request that is answered in JSON.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any           // encoded as JSON; nil for none
	out          any           // decoded from JSON; nil to ignore the answer
	wait         time.Duration // how long the server may hold the answer back
	credential   string        // "" means the one that fits the path
	mutates      bool          // a lost answer means an unknown outcome
	repeatable   bool          // the server recognizes a repeat: the transport may repeat it on a stale connection
}

// call makes one request and decodes its answer. It sends once, except that the
// transport may repeat a repeatable one when a kept connection turns out closed.
func (c *Client) call(ctx context.Context, q call) error {
	var body io.Reader
	limit := c.conf.RequestTimeout + q.wait
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return Errorf(CodeInvalid, "the request cannot be written as JSON: %v", err)
		}
		body = bytes.NewReader(b)
		limit += time.Duration(len(b)/slowest) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if q.wait > 0 {
		var leave context.CancelCauseFunc
		ctx, leave = context.WithCancelCause(ctx)
		defer leave(nil)
		defer context.AfterFunc(c.at.Load().stay, func() { leave(errMoved) })()
	}
	req, err := c.newRequest(ctx, q, body)
	if err != nil {
		return err
	}
	resp, sent, err := c.do(req)
	if err != nil {
		return c.transportError(req, err, q.mutates && sent)
	}
	defer resp.Body.Close()
	if q.out == nil || resp.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxProblem))
		return c.readError(req, err, q.mutates)
	}
	b, err := readReply(resp)
	if err == nil {
		err = json.Unmarshal(b, q.out)
	}
	return c.readError(req, err, q.mutates)
}

func (c *Client) newRequest(ctx context.Context, q call, body io.Reader) (*http.Request, error) {
	if path.Clean(q.path) != q.path { // an ID or a name of nothing or of dots would name another route
		return nil, Errorf(CodeInvalid, "%q holds an empty name, or one of dots only", q.path).WithHint("check the ID or the name")
	}
	target := strings.TrimSuffix(c.base().String(), "/") + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, body)
	if err != nil {
		return nil, Errorf(CodeInvalid, "the request to %s cannot be made: %v", c.base(), err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	if cred := c.credential(q); cred != "" {
		req.Header["Authorization"] = []string{"Bearer " + cred}
	}
	if body != nil && q.body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
	}
	if q.repeatable {
		req.Header["Idempotency-Key"] = []string{} // tells net/http only; an empty list is not sent
	}
	req.Header["User-Agent"] = []string{"entropy"}
	return req, nil
}

// credential returns what a call presents: the worker's key on the worker
// protocol when there is one, else the token.
func (c *Client) credential(q call) string {
	switch {
	case q.credential != "":
		return q.credential
	case c.conf.WorkerKey != "" && (c.conf.Token == "" || strings.HasPrefix(q.path, "/v1/worker/")):
		return c.conf.WorkerKey
	}
	return c.conf.Token
}

// do sends the request and turns an error answer into an [Error]. It reports
// whether anything may have reached the server.
func (c *Client) do(req *http.Request) (resp *http.Response, sent bool, err error) {
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	c.sendEpoch(req)
	resp, err = c.http.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, connected.Load(), err
	}
	if err = c.meetEpoch(resp); err == nil {
		err = c.checkAnswer(req, resp)
	}
	if err != nil {
		resp.Body.Close()
		return nil, true, err
	}
	return resp, true, nil
}

// readReply reads a whole answer, of known size at once.
func readReply(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxReply {
		return nil, Errorf(CodeTooLarge, "the answer has %d bytes, at most %d are read", resp.ContentLength, maxReply)
	}
	if n := resp.ContentLength; n >= 0 && n <= MaxRequest {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(b) > maxReply {
		err = Errorf(CodeTooLarge, "the answer has more than %d bytes", maxReply)
	}
	return b, err
}

// newHTTPClient returns a client whose connections stay open between calls: a
// worker's long polls and heartbeats share a handful of them.
func newHTTPClient(conf ClientConfig) (*http.Client, error) {
	tc := &tls.Config{RootCAs: conf.RootCAs, MinVersion: tls.VersionTLS13}
	if conf.CAPin != "" {
		verify, err := pinned(conf.CAPin, conf.ClusterID)
		if err != nil {
			return nil, err
		}
		tc.InsecureSkipVerify = true // the pin replaces the default check; see pinned
		tc.VerifyConnection = verify
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 4}} // a server that moved must be missed soon
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: tc, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 64, MaxIdleConns: 64, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		ExpectContinueTimeout: 2 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
	}}, nil
}

// pinned returns a check that accepts a server only when one certificate of its
// chain has the pinned public key and vouches for the rest. With a cluster, the
// server's certificate must name that cluster's control plane; without, the host.
func pinned(pin, cluster string) (func(tls.ConnectionState) error, error) {
	want, err := hex.DecodeString(strings.TrimPrefix(pin, "sha256:"))
	if err != nil || len(want) != sha256.Size {
		return nil, Errorf(CodeInvalid, "the CA pin is not a SHA-256 in hex").WithHint("copy it again from the control plane")
	}
	return func(cs tls.ConnectionState) error {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		found := false
		for _, cert := range cs.PeerCertificates {
			between.AddCert(cert)
			if sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo); bytes.Equal(sum[:], want) {
				roots.AddCert(cert)
				found = true
			}
		}
		if !found {
			return strangerError("no certificate of the server has the pinned key")
		}
		leaf, options := cs.PeerCertificates[0], x509.VerifyOptions{DNSName: cs.ServerName, Roots: roots, Intermediates: between}
		if cluster != "" {
			options.DNSName = ""
			if !slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.String() == ControlPlaneURI(cluster) }) {
				return strangerError("its certificate is not that of the control plane of cluster " + cluster)
			}
		}
		_, err := leaf.Verify(options)
		return err
	}, nil
}

// parseServer reads the URL of a control plane.
func parseServer(s string) (*url.URL, error) {
	bad := func(why string) error {
		return Errorf(CodeInvalid, "the server %q %s", s, why).WithHint("write it as http://127.0.0.1:7600 or https://HOST:7600")
	}
	if s == "" {
		return nil, Errorf(CodeInvalid, "no server is given").WithHint("set ENTROPY_SERVER or pass --server")
	}
	if !strings.Contains(s, "://") {
		scheme := "https://"
		if host, _, err := net.SplitHostPort(s); err == nil && loopback(host) {
			scheme = "http://"
		}
		s = scheme + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, bad("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, bad("has a scheme other than http and https")
	case u.Hostname() == "":
		return nil, bad("names no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, bad("carries more than scheme, host, port and path")
	}
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
