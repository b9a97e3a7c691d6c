// Package httpcall executes http_call: one HTTP request to a host that the
// settings allow, with the methods and paths that they allow, and with headers of
// theirs that may hold secrets.
package httpcall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// Config says what may be called.
type Config struct {
	Hosts       []Host           `json:"hosts"`
	Timeout     entropy.Duration `json:"timeout"`      // of one request; 0 means 30 s
	MaxRequest  int64            `json:"max_request"`  // bytes of a body; 0 means 64 KiB
	MaxResponse int64            `json:"max_response"` // bytes kept of an answer; 0 means 64 KiB
	MaxWait     entropy.Duration `json:"max_wait"`     // longest Retry-After that is waited for here; 0 means 30 s
	// Private allows loopback and private addresses.
	Private bool `json:"private"`
}

// Host is one that may be called.
type Host struct {
	Host    string                   `json:"host"`    // name, with a port if it is not the scheme's
	Plain   bool                     `json:"plain"`   // allows http:// as well
	Methods []string                 `json:"methods"` // empty means GET and HEAD
	Paths   []string                 `json:"paths"`   // prefixes, by whole segments; empty means all
	Headers map[string]builtin.Value `json:"headers"` // set on each request
}

type args struct {
	Method  string            `json:"method"` // default GET
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	JSON    json.RawMessage   `json:"json"` // the body, as application/json
	Text    string            `json:"text"` // or the body as it is
	Expect  []int             `json:"expect"`
}

// own are headers that only the settings and the protocol set.
var own = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Idempotency-Key",
	"Authorization", "Cookie", "Proxy-Authorization"}

type caller struct {
	Config
	client *http.Client
}

// Register gives http_call to an executor.
func Register(to executor.Registry, conf Config) error {
	if conf.Timeout == 0 {
		conf.Timeout = entropy.Duration(30 * time.Second)
	}
	if conf.MaxWait == 0 {
		conf.MaxWait = entropy.Duration(30 * time.Second)
	}
	if conf.MaxRequest == 0 {
		conf.MaxRequest = 64 << 10
	}
	if conf.MaxResponse == 0 {
		conf.MaxResponse = 64 << 10
	}
	if err := conf.validate(); err != nil {
		return fmt.Errorf("http_call: %w", err)
	}
	c := &caller{Config: conf, client: builtin.NewClient(conf.Private)}
	same := c.client.CheckRedirect
	c.client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if err := same(req, via); err != nil {
			return err
		}
		_, err := c.allowed(req.Method, req.URL) // nor to another path
		return err
	}
	to.Handle("http_call", c.call, executor.DryRun())
	return nil
}

func (c Config) validate() error {
	var errs []error
	if c.Timeout < 0 || c.MaxWait < 0 || c.MaxRequest < 0 || c.MaxResponse < 0 || c.MaxResponse > 128<<10 {
		errs = append(errs, errors.New("limits are not negative, and max_response is at most 128 KiB"))
	}
	for i, h := range c.Hosts {
		if u, err := url.Parse("https://" + h.Host); err != nil || h.Host == "" || u.Host != h.Host || u.Path != "" {
			errs = append(errs, fmt.Errorf("hosts[%d]: %q is not a host", i, h.Host))
		}
		for name, v := range h.Headers {
			if err := v.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("hosts[%d].headers[%s]: %w", i, name, err))
			}
		}
		for _, p := range h.Paths {
			if !strings.HasPrefix(p, "/") {
				errs = append(errs, fmt.Errorf("hosts[%d].paths: %q does not begin with /", i, p))
			}
		}
	}
	return errors.Join(errs...)
}

// allowed returns the settings of the host that a call is to.
func (c *caller) allowed(method string, u *url.URL) (*Host, error) {
	i := slices.IndexFunc(c.Hosts, func(h Host) bool { return strings.EqualFold(h.Host, u.Host) })
	if i < 0 {
		return nil, builtin.NotAllowedf("the host %q is not among those that may be called", u.Host)
	}
	h := &c.Hosts[i]
	methods := h.Methods
	if len(methods) == 0 {
		methods = []string{http.MethodGet, http.MethodHead}
	}
	switch {
	case u.User != nil:
		return nil, builtin.NotAllowedf("the URL has credentials; put them into the settings, by reference")
	case u.Scheme != "https" && (u.Scheme != "http" || !h.Plain):
		return nil, builtin.NotAllowedf("the scheme %q is not allowed for %s", u.Scheme, h.Host)
	case !slices.Contains(methods, method):
		return nil, builtin.NotAllowedf("the method %s is not allowed for %s", method, h.Host)
	case !underOne(u, h.Paths):
		return nil, builtin.NotAllowedf("the path is not allowed for %s", h.Host)
	}
	return h, nil
}

// underOne reports whether a URL's path is below one of the prefixes, however it is
// written: what the server would make of dots and escapes is not left to it.
func underOne(u *url.URL, prefixes []string) bool {
	if len(prefixes) == 0 {
		return true
	}
	if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") || strings.ContainsAny(u.Path, "\\;") {
		return false
	}
	p := path.Clean("/" + u.Path)
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		prefix = strings.TrimSuffix(prefix, "/")
		return p == prefix || strings.HasPrefix(p, prefix+"/")
	})
}

func (c *caller) call(ctx context.Context, t *executor.Task) (any, error) {
	var a args
	if err := t.Args(&a); err != nil {
		return nil, err
	}
	if a.Method == "" {
		a.Method = http.MethodGet
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" {
		return nil, executor.Invalidf("the url is not absolute")
	}
	h, err := c.allowed(a.Method, u)
	if err != nil {
		return nil, err
	}
	body := []byte(a.Text)
	if len(a.JSON) > 0 {
		if a.Text != "" {
			return nil, executor.Invalidf("give one of json and text")
		}
		body = a.JSON
	}
	if int64(len(body)) > c.MaxRequest {
		return nil, builtin.NotAllowedf("the body has %d bytes, at most %d are allowed", len(body), c.MaxRequest)
	}
	for name := range a.Headers {
		if name = http.CanonicalHeaderKey(name); slices.Contains(own, name) || h.has(name) {
			return nil, builtin.NotAllowedf("the header %s is not an argument; the settings have it", name)
		}
	}
	if t.DryRun() {
		return map[string]any{"would": a.Method, "host": u.Host, "path": u.Path, "bytes": len(body)}, nil
	}
	var result any
	err = builtin.Patiently(ctx, time.Duration(c.MaxWait), func() (err error) {
		result, err = c.send(ctx, t, h, &a, u, body)
		return err
	})
	return result, err
}

func (h *Host) has(name string) bool {
	for n := range h.Headers {
		if http.CanonicalHeaderKey(n) == name {
			return true
		}
	}
	return false
}

// send makes one request.
func (c *caller) send(ctx context.Context, t *executor.Task, h *Host, a *args, u *url.URL, body []byte) (any, error) {
	ctx, done := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer done()
	req, err := http.NewRequestWithContext(ctx, a.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, executor.Invalidf("the request: %w", err)
	}
	if len(a.JSON) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, v := range a.Headers {
		req.Header.Set(name, v)
	}
	var secrets []string
	for name, v := range h.Headers {
		value, secret, err := v.Read()
		if err != nil {
			return nil, err
		}
		req.Header.Set(name, value)
		secrets = append(secrets, secret)
	}
	req.Header.Set("Idempotency-Key", t.ActionID())
	res, err := builtin.Do(c.client, req, c.MaxResponse)
	if err != nil {
		return nil, err
	}
	shown := builtin.Redact(string(res.Body), secrets...)
	if len(a.Expect) > 0 && slices.Contains(a.Expect, res.Status) {
		return result(res, shown), nil
	}
	if err := builtin.StatusError(res, shown[:min(len(shown), 512)]); err != nil {
		return nil, err
	}
	if len(a.Expect) > 0 {
		return nil, executor.Final(fmt.Errorf("the server answered %d, expected was one of %v", res.Status, a.Expect), "unexpected_status")
	}
	return result(res, shown), nil
}

// result is what is reported of an answer: JSON as such, text as text.
func result(res *builtin.Response, body string) map[string]any {
	m := map[string]any{"status": res.Status, "bytes": len(res.Body)}
	if v := res.Header.Get("Content-Type"); v != "" {
		m["content_type"] = v
	}
	if res.Cut {
		m["cut"] = true
	}
	switch {
	case !res.Cut && json.Valid([]byte(body)):
		m["json"] = json.RawMessage(body)
	case utf8.ValidString(body):
		m["text"] = body
	case res.Cut:
		m["text"] = strings.ToValidUTF8(body, "")
	}
	return m
}
