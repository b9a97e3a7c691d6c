package entropy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
)

// callError is an [Error] that keeps what caused it, so that errors.Is finds
// context.Canceled and the like.
type callError struct {
	e     *Error
	cause error
}

// Error returns the message and the hint of the [Error].
func (c *callError) Error() string { return c.e.Error() }

// Unwrap returns the [Error] and its cause.
func (c *callError) Unwrap() []error { return []error{c.e, c.cause} }

// transportError explains a request that got no answer. arrived says that a
// call that changes something may have been carried out.
func (c *Client) transportError(req *http.Request, err error, arrived bool) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e // the server's own answer
	}
	for _, why := range []error{errStalled, errMoved} {
		if errors.Is(err, context.Canceled) && errors.Is(context.Cause(req.Context()), why) {
			err = why
		}
	}
	code := CodeUnavailable
	if arrived {
		code = CodeUnknown
	}
	if isStranger(err) {
		code = CodeForbidden // no repeating makes another server of it
	}
	what, hint := c.diagnose(err)
	e := Errorf(code, "%s", what).WithHint("%s", hint)
	if arrived {
		e.Message = fmt.Sprintf("%s: the outcome is unknown, it may or may not have happened", what)
		e.Hint = "repeat it with the same identifiers, which is harmless, or look at the state first; " + hint
	}
	return &callError{e: e, cause: err}
}

// diagnose says in words what stopped a request, and what to do.
func (c *Client) diagnose(err error) (what, hint string) {
	server := c.base().String()
	op, isOp := errors.AsType[*net.OpError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	text := err.Error()
	switch {
	case errors.Is(err, errStalled):
		return "the transfer with " + server + " made no progress", "check the network and repeat it"
	case errors.Is(err, errMoved):
		return "the control plane has moved to " + server + " while this call waited", "repeat it"
	case errors.Is(err, context.Canceled):
		return "the call to " + server + " was canceled", "repeat it if it is still wanted"
	case isRecord || strings.Contains(text, "gave HTTP response to HTTPS client"):
		return server + " does not speak TLS", "use http:// in ENTROPY_SERVER or --server, or check the port"
	case isStranger(err):
		return server + " is not the control plane that the token or this worker knows; no secret was sent: " + rootCause(err),
			"check the address; if the control plane was made anew, use a new token of it (a worker: after `entropy worker reset-identity`)"
	case isCertificateError(err) && c.conf.CAPin != "":
		return "the certificate of " + server + " is not trusted: " + rootCause(err), "check this host's clock, and use a name in the certificate"
	case isCertificateError(err):
		return "the certificate of " + server + " is not trusted: " + rootCause(err), "set ENTROPY_CA_FILE to the control plane's ca.pem, or use the name in its certificate"
	case strings.Contains(text, "malformed HTTP") || strings.Contains(text, "readLoopPeekFail"): // the second: it spoke first, as NATS does
		return server + " does not speak HTTP", "check the port: the control plane listens on 7600 by default"
	case isOp && op.Op == "dial":
		return "cannot reach the control plane at " + server + ": " + rootCause(err), "start it with `entropy up` or `entropy control`, or set ENTROPY_SERVER"
	case errors.Is(err, context.DeadlineExceeded):
		return "the control plane at " + server + " did not answer in time", "check `entropy status` and the network, then repeat"
	}
	return "the connection to " + server + " broke: " + rootCause(err), "check the network and the control plane's log, then repeat"
}

func isCertificateError(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok { // of the check in pinned
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return true
	}
	return isStranger(err)
}

// isStranger reports whether the server is another than the pinned one.
func isStranger(err error) bool {
	_, ok := errors.AsType[strangerError](err)
	return ok
}

// rootCause returns the innermost message, without addresses said already.
func rootCause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// readError explains an answer that broke off or could not be decoded.
func (c *Client) readError(req *http.Request, err error, mutates bool) error {
	if err == nil {
		return nil
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || kind {
		return &callError{cause: err, e: Errorf(CodeUnknown, "the answer of %s to %s %s is not understood: %v", c.base(), req.Method, req.URL.Path, err).
			WithHint("check that client and control plane are of compatible releases")}
	}
	return c.transportError(req, err, mutates)
}

// checkAnswer returns nil for a good answer of a control plane, and the [Error]
// that any other answer means.
func (c *Client) checkAnswer(req *http.Request, resp *http.Response) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.Header.Get(HeaderAPI) == "" {
		return c.notEntropy(req, resp, media)
	}
	if resp.StatusCode < 300 {
		return nil
	}
	var p Problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err == nil && media == "application/problem+json" {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Code == "" {
		return statusError(resp)
	}
	return p.Err()
}

// statusError is the meaning of an error status whose body says nothing: a HEAD
// request, or an answer cut short.
func statusError(resp *http.Response) *Error {
	for _, code := range []Code{CodeInvalid, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeConflict, CodeTooLarge, CodeOverloaded, CodeUnknown, CodeDiskFull} {
		if code.HTTPStatus() == resp.StatusCode {
			return Errorf(code, "the control plane answered %s", resp.Status)
		}
	}
	return Errorf(CodeInternal, "the control plane answered %s", resp.Status).WithHint("see the control plane's log")
}

// notEntropy explains an answer of something that is not a control plane.
func (c *Client) notEntropy(req *http.Request, resp *http.Response, media string) error {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	switch {
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(head), "HTTP request to an HTTPS server"):
		return Errorf(CodeUnavailable, "%s speaks TLS", c.base()).WithHint("use https:// in ENTROPY_SERVER or --server")
	case resp.StatusCode >= 502 && resp.StatusCode <= 504:
		code := CodeUnavailable
		if req.Method != http.MethodGet {
			code = CodeUnknown
		}
		return Errorf(code, "a proxy before %s answered %s", c.base(), resp.Status).WithHint("check the proxy and that the control plane runs, then repeat")
	}
	if media == "" {
		media = "no content type"
	}
	return Errorf(CodeUnavailable, "%s is not an Entropy control plane: it answered %s with %s", c.base(), resp.Status, media).
		WithHint("check ENTROPY_SERVER or --server: the control plane listens on port 7600 by default")
}

// miscount reports an answer with the wrong number of results.
func (c *Client) miscount(want, got int) error {
	return Errorf(CodeUnknown, "%s answered %d items with %d results", c.base(), want, got).
		WithHint("check that client and control plane are of compatible releases")
}
