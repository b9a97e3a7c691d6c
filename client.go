package entropy

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ClientConfig says where the control plane is and who asks.
type ClientConfig struct {
	// Server is the control plane's URL, as in "https://lab1:7600". Without a
	// scheme it is http on loopback and https elsewhere. Required.
	Server string
	// Token is the credential sent with every call: an admin token, or the join
	// token of a worker that registers. It may be empty when WorkerKey is set. One
	// that is a [Ticket] also says who may receive it: its CAPin and ClusterID count
	// where RootCAs, CAPin and ClusterID are not set, and it is not sent over plain
	// HTTP to another host. Only its credential is ever sent.
	Token string
	// WorkerKey is the worker's own credential. When set, calls of WorkerService
	// present it, and Register presents it beside Token.
	WorkerKey string
	// RootCAs are the authorities that may vouch for the server; nil means the system's.
	RootCAs *x509.CertPool
	// CAPin, when set, is the SHA-256 of the public key (SubjectPublicKeyInfo) of
	// the only authority that may vouch for the server, in hex, with an optional
	// "sha256:" before it. It replaces RootCAs.
	CAPin string
	// ClusterID, when set beside CAPin, is the cluster whose control plane the
	// server must prove to be, by the URI in its certificate (see
	// [ControlPlaneURI]). It replaces the check of the host's name: a control plane
	// may move, and be reached under any address.
	ClusterID string
	// HTTPClient, when set, carries the requests as it is; RootCAs and CAPin are
	// then its owner's business. It must not have a Timeout shorter than MaxWait. The default
	// one uses no proxy: a credential goes to Server and nowhere else.
	HTTPClient *http.Client
	// RequestTimeout bounds a call that neither waits nor moves files; 0 means 30 s.
	RequestTimeout time.Duration
	// StallTimeout ends an upload or download that makes no progress; 0 means 2 min.
	StallTimeout time.Duration
	// Epoch is the highest epoch of the control plane that was ever seen: answers
	// of a lower one are refused, since another has taken over. 0 means none.
	Epoch uint64
	// OnEpoch is called with each higher epoch, before the call that met it
	// returns, so that it can be kept. Nil means that nobody keeps it.
	OnEpoch func(epoch uint64)
}

func (c ClientConfig) withDefaults() ClientConfig {
	c.RequestTimeout = orDefaultDuration(Duration(c.RequestTimeout), 30*time.Second)
	c.StallTimeout = orDefaultDuration(Duration(c.StallTimeout), 2*time.Minute)
	c.Token, c.WorkerKey = strings.TrimSpace(c.Token), strings.TrimSpace(c.WorkerKey)
	return c
}

func (c ClientConfig) validate() error {
	var errs []error
	for _, t := range []struct{ name, value string }{{"token", c.Token}, {"worker key", c.WorkerKey}} {
		if strings.ContainsFunc(t.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			errs = append(errs, fmt.Errorf("the %s holds a character that no credential has", t.name))
		}
	}
	if c.RequestTimeout < 0 || c.StallTimeout < 0 {
		errs = append(errs, errors.New("a timeout is negative"))
	}
	if len(errs) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "client: %v", errors.Join(errs...)).WithHint("check ENTROPY_TOKEN, ENTROPY_TOKEN_FILE and --token-file")
}

// Client is the fabric over HTTP: a [Service] and a [WorkerService]. It is safe
// for concurrent use and keeps its connections warm. Batches longer than
// MaxBatch are split. Every error is an [Error] or wraps one: [CodeUnavailable]
// when nothing reached the control plane, [CodeUnknown] when a call that changes
// something may have been carried out.
type Client struct {
	conf ClientConfig
	at   atomic.Pointer[place] // where the control plane is
	http *http.Client

	epoch atomic.Uint64 // the highest that was seen
}

var (
	_ Service       = (*Client)(nil)
	_ WorkerService = (*Client)(nil)
)

// NewClient returns a client of the control plane at conf.Server. It opens no
// connection.
func NewClient(conf ClientConfig) (*Client, error) {
	conf, err := conf.withDefaults().unpacked()
	if err != nil {
		return nil, err
	}
	if err := conf.validate(); err != nil {
		return nil, err
	}
	base, err := conf.baseURL(conf.Server)
	if err != nil {
		return nil, err
	}
	hc := conf.HTTPClient
	if hc == nil {
		if hc, err = newHTTPClient(conf); err != nil {
			return nil, err
		}
	}
	own := *hc
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &Client{conf: conf, http: &own}
	c.at.Store(newPlace(base))
	c.epoch.Store(conf.Epoch)
	return c, nil
}

// Server returns the URL of the control plane.
func (c *Client) Server() string { return c.base().String() }

// SetServer points the client at another address of its control plane, as it may
// have moved. What must be proved stays as it was: the pin and the cluster's ID
// are those of [ClientConfig]. Calls under way go on where they are, but for those
// that let the server wait: from an address that is gone they would hear nothing
// until their time is up. They end as if the connection had broken.
func (c *Client) SetServer(server string) error {
	base, err := c.conf.baseURL(server)
	if err != nil {
		return err
	}
	c.at.Swap(newPlace(base)).leave(errMoved)
	return nil
}

// place is where the control plane is reached, until it is left.
type place struct {
	base  *url.URL
	stay  context.Context // ends when the place is left
	leave context.CancelCauseFunc
}

func newPlace(base *url.URL) *place {
	stay, leave := context.WithCancelCause(context.Background())
	return &place{base, stay, leave}
}

// errMoved ends the calls that wait at an address that was left.
var errMoved = errors.New("the control plane has moved")

// baseURL reads the address of a control plane that may be sent secrets.
func (c *ClientConfig) baseURL(server string) (*url.URL, error) {
	base, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	if base.Scheme == "http" && c.CAPin != "" && !loopback(base.Hostname()) {
		return nil, Errorf(CodeInvalid, "refusing to send a secret to %s over plain HTTP: the control plane proves itself by TLS", base).
			WithHint("write https:// in ENTROPY_SERVER or --server; a control plane started with --insecure makes tokens for plain HTTP")
	}
	return base, nil
}

func (c *Client) base() *url.URL { return c.at.Load().base }

// CloseIdle closes the connections that no call is using.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// Spawn submits a job under an ID made here and returns a handle on it; see [Spawn].
func (c *Client) Spawn(ctx context.Context, spec JobSpec) (*Handle, error) {
	return Spawn(ctx, c, spec)
}

// Submit implements [Service]. A submission without ID and key is given an ID
// here, so that the request may be repeated without making a second job.
func (c *Client) Submit(ctx context.Context, subs []Submission) ([]SubmitResult, error) {
	bodies := make([]json.RawMessage, len(subs))
	for i, s := range subs {
		if s.ID == "" && s.IdempotencyKey == "" {
			s.ID = JobID(NewID())
		}
		b, err := json.Marshal(&s)
		if err != nil {
			return nil, Errorf(CodeInvalid, "submission %d: %v", i, err)
		}
		bodies[i] = b
	}
	out := make([]SubmitResult, 0, len(subs))
	parts := splitBodies(bodies)
	if len(parts) > 1 && Grouped(subs) {
		return nil, Errorf(CodeTooLarge, "%d submissions that belong together do not fit into one request", len(subs)).
			WithHint("one request has at most %d submissions and about %d MiB; ship large data with --input", MaxBatch, MaxRequest>>21)
	}
	for _, part := range parts {
		var reply SubmitResults
		err := c.call(ctx, call{method: "POST", path: "/v1/jobs", body: map[string]any{"jobs": part}, out: &reply, mutates: true, repeatable: true})
		if err == nil && len(reply.Results) != len(part) {
			err = c.miscount(len(part), len(reply.Results))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, reply.Results...)
	}
	return out, nil
}

// Job implements [Service].
func (c *Client) Job(ctx context.Context, id JobID) (*Job, error) {
	j := new(Job)
	if err := c.call(ctx, call{method: "GET", path: jobPath(id, ""), out: j}); err != nil {
		return nil, err
	}
	return j, nil
}

// Jobs implements [Service].
func (c *Client) Jobs(ctx context.Context, f JobFilter) (JobPage, error) {
	q := url.Values{}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	setText(q, "queue", f.Queue)
	setText(q, "tenant", f.Tenant)
	setText(q, "name", f.Name)
	setText(q, "array", string(f.Array))
	for k, v := range f.Labels {
		q.Add("label", k+"="+v)
	}
	setInt(q, "limit", int64(f.Limit))
	setText(q, "cursor", f.Cursor)
	var page JobPage
	err := c.call(ctx, call{method: "GET", path: "/v1/jobs", query: q, out: &page})
	return page, err
}

// Cancel implements [Service].
func (c *Client) Cancel(ctx context.Context, id JobID, op Operation) (*Job, error) {
	return c.act(ctx, id, "cancel", op)
}

// Retry implements [Service].
func (c *Client) Retry(ctx context.Context, id JobID, op Operation) (*Job, error) {
	return c.act(ctx, id, "retry", op)
}

func (c *Client) act(ctx context.Context, id JobID, verb string, op Operation) (*Job, error) {
	j := new(Job)
	err := c.call(ctx, call{method: "POST", path: jobPath(id, "/"+verb), body: op, out: j, mutates: true, repeatable: op.ID != ""})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Wait implements [Service]. More than MaxBatch IDs, and a wait longer than
// MaxWait, become several requests.
func (c *Client) Wait(ctx context.Context, ids []JobID, limit time.Duration) ([]*Job, error) {
	deadline := time.Now().Add(limit)
	done := make([]*Job, 0, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), MaxBatch)
		got, err := c.waitSome(ctx, ids[:n], deadline)
		if err != nil {
			return nil, err
		}
		done, ids = append(done, got...), ids[n:]
	}
	return done, nil
}

// waitSome waits for one batch until the deadline; it asks at least once.
func (c *Client) waitSome(ctx context.Context, ids []JobID, deadline time.Time) ([]*Job, error) {
	open := make(map[JobID]bool, len(ids))
	for _, id := range ids {
		open[id] = true
	}
	var done []*Job
	for {
		left := max(0, time.Until(deadline))
		req := WaitRequest{Timeout: Duration(min(left, MaxWait))}
		for _, id := range ids {
			if open[id] {
				req.IDs = append(req.IDs, id)
			}
		}
		var reply JobList
		err := c.call(ctx, call{method: "POST", path: "/v1/wait", body: req, out: &reply, wait: req.Timeout.D(), repeatable: true})
		if err != nil {
			return nil, err
		}
		for _, j := range reply.Jobs {
			if open[j.ID] {
				delete(open, j.ID)
				done = append(done, j)
			}
		}
		if len(open) == 0 || left == 0 {
			return done, nil
		}
	}
}

// Events implements [Service].
func (c *Client) Events(ctx context.Context, f EventFilter) (EventPage, error) {
	q := url.Values{}
	switch {
	case f.Latest:
		q.Set("latest", "true")
	case f.After != Position{}:
		q.Set("after", f.After.String())
	}
	setText(q, "entity", f.Entity)
	setText(q, "type", f.Type)
	setInt(q, "limit", int64(f.Limit))
	f.Wait = min(f.Wait, MaxWait)
	setWait(q, f.Wait)
	var page EventPage
	err := c.call(ctx, call{method: "GET", path: "/v1/events", query: q, out: &page, wait: f.Wait})
	return page, err
}

// Log implements [Service].
func (c *Client) Log(ctx context.Context, l LogQuery) (LogChunk, error) {
	q := url.Values{}
	setText(q, "stream", l.Stream)
	setInt(q, "attempt", int64(l.Attempt))
	setInt(q, "offset", l.Offset)
	setInt(q, "limit", int64(l.Limit))
	l.Wait = min(l.Wait, MaxWait)
	setWait(q, l.Wait)
	var chunk LogChunk
	err := c.call(ctx, call{method: "GET", path: jobPath(l.JobID, "/logs"), query: q, out: &chunk, wait: l.Wait})
	return chunk, err
}

// OpenArtifact implements [Service]. The content is not checked against its
// hash here; [Artifact] says what it must be.
func (c *Client) OpenArtifact(ctx context.Context, id JobID, name string) (io.ReadCloser, Artifact, error) {
	resp, err := c.open(ctx, jobPath(id, "/artifacts/"+escapeName(name)))
	if err != nil {
		return nil, Artifact{}, err
	}
	a := Artifact{Name: name, SHA256: strings.Trim(resp.Header.Get("Etag"), `"`), Size: resp.ContentLength}
	return resp.Body, a, nil
}

// PutBlob implements [Service].
func (c *Client) PutBlob(ctx context.Context, sha256 string, size int64, r io.Reader) error {
	return c.upload(ctx, "/v1/blobs/"+url.PathEscape(sha256), nil, size, r, nil)
}

// HasBlobs implements [Service].
func (c *Client) HasBlobs(ctx context.Context, sha256 []string) ([]string, error) {
	var missing []string
	for len(sha256) > 0 {
		n := min(len(sha256), MaxBatch)
		var reply BlobList
		if err := c.call(ctx, call{method: "POST", path: "/v1/blobs/missing", body: BlobList{SHA256: sha256[:n]}, out: &reply, repeatable: true}); err != nil {
			return nil, err
		}
		missing, sha256 = append(missing, reply.SHA256...), sha256[n:]
	}
	return missing, nil
}

// Workers implements [Service].
func (c *Client) Workers(ctx context.Context) ([]WorkerInfo, error) {
	var reply WorkerList
	err := c.call(ctx, call{method: "GET", path: "/v1/workers", out: &reply})
	return reply.Workers, err
}

// SetWorker implements [Service].
func (c *Client) SetWorker(ctx context.Context, id WorkerID, mode WorkerMode, op Operation) (WorkerInfo, error) {
	var info WorkerInfo
	path := "/v1/workers/" + url.PathEscape(string(id)) + "/" + url.PathEscape(string(mode))
	err := c.call(ctx, call{method: "POST", path: path, body: op, out: &info, mutates: true, repeatable: op.ID != ""})
	return info, err
}

// Status implements [Service].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, call{method: "GET", path: "/v1/status", out: &s})
	return s, err
}

// splitBodies cuts encoded items into runs of at most MaxBatch items and about
// half of MaxRequest bytes. A single larger item goes alone.
func splitBodies(items []json.RawMessage) [][]json.RawMessage {
	var parts [][]json.RawMessage
	start, size := 0, 0
	for i, b := range items {
		if i > start && (i-start == MaxBatch || size+len(b) > MaxRequest/2) {
			parts = append(parts, items[start:i])
			start, size = i, 0
		}
		size += len(b) + 1
	}
	if start < len(items) {
		parts = append(parts, items[start:])
	}
	return parts
}

func jobPath(id JobID, rest string) string { return "/v1/jobs/" + url.PathEscape(string(id)) + rest }

// escapeName escapes a slash-separated name for a path, keeping its slashes.
func escapeName(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func setText(q url.Values, key, v string) {
	if v != "" {
		q.Set(key, v)
	}
}

func setInt(q url.Values, key string, v int64) {
	if v != 0 {
		q.Set(key, strconv.FormatInt(v, 10))
	}
}

func setWait(q url.Values, d time.Duration) {
	if d > 0 {
		q.Set("wait", d.String())
	}
}
