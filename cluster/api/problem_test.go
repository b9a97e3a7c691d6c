package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/entropytest"
)

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// failing answers every status request with one error.
type failing struct {
	*entropytest.Memory
	err error
}

func (f *failing) Status(context.Context) (entropy.Status, error) { return entropy.Status{}, f.err }

func (f *failing) Cancel(context.Context, entropy.JobID, entropy.Operation) (*entropy.Job, error) {
	return nil, f.err
}

// proves §12: every code has its status, survives the wire, and says what is unknown
func TestCodesOverTheWire(t *testing.T) {
	f := &failing{Memory: entropytest.NewMemory()}
	w := newWorld(t, f, f.Memory, nil)
	c := w.adminClient()
	for code, status := range map[entropy.Code]int{
		entropy.CodeInvalid: 400, entropy.CodeUnauthorized: 401, entropy.CodeForbidden: 403, entropy.CodeNotFound: 404, entropy.CodeConflict: 409,
		entropy.CodeSuperseded: 409, entropy.CodeTooLarge: 413, entropy.CodeOverloaded: 429, entropy.CodeInternal: 500, entropy.CodeUnavailable: 503,
		entropy.CodeUnknown: 503, entropy.CodeDiskFull: 507, entropy.CodeStale: 409,
	} {
		want := entropy.Errorf(code, "what <happened> & why").WithHint("do this")
		f.err = fmt.Errorf("wrapped: %w", want)
		resp, body := w.want(request{method: "GET", path: "/v1/status", token: w.admin}, status, `"code":"`+string(code)+`"`)
		if resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: content type %q", code, resp.Header.Get("Content-Type"))
		}
		if unknown := code == entropy.CodeUnknown; unknown != strings.Contains(body, `"outcome":"unknown"`) {
			t.Errorf("%s: outcome in %s", code, body)
		}
		_, err := c.Status(t.Context())
		if got, ok := errors.AsType[*entropy.Error](err); !ok || *got != *want {
			t.Errorf("%s: the client got %#v", code, err)
		}
	}
	f.err = errors.New("secret detail of the inside")
	_, body := w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 500, "internal error")
	if strings.Contains(body, "secret") {
		t.Errorf("the answer tells the inside: %s", body)
	}
	f.err = context.Canceled
	w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 503, "unavailable")
	w.want(request{method: "POST", path: "/v1/jobs/a/cancel", token: w.admin}, 503, `"outcome":"unknown"`)
}
