package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Limits of JSON bodies, in bytes.
const (
	smallBody = 64 << 10 // an operation, a claim
	batchBody = 1 << 20  // up to MaxBatch identifiers with a few words each
	largeBody = entropy.MaxRequest
)

// slowBody is how long a large JSON body may take: its sender has shown a
// credential, and its link may be bad.
const slowBody = 2 * time.Minute

// readJSON reads a JSON body of at most limit bytes into v, which points to a
// request type. Nothing is left half done: on an error v is not to be used.
func readJSON(w *response, r *http.Request, limit int64, v any) error {
	if err := checkContent(r, "application/json"); err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	if err := readBody(w, r, limit, buf); err != nil {
		return err
	}
	return decodeJSON(buf.Bytes(), v)
}

// readOptionalJSON is readJSON where an empty body means the zero value.
func readOptionalJSON(w *response, r *http.Request, limit int64, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return readJSON(w, r, limit, v)
}

// checkContent refuses a body of another kind, and any compressed one: a small
// body that unfolds into a large one is not worth its risk here.
func checkContent(r *http.Request, want string) error {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return &statusError{status: http.StatusUnsupportedMediaType, Err: entropy.Errorf(entropy.CodeInvalid, "the content encoding %.40q is not accepted", enc).
			WithHint("send the body as it is")}
	}
	got := r.Header.Get("Content-Type")
	if got == want {
		return nil
	}
	media, _, err := mime.ParseMediaType(got)
	if err != nil || media != want {
		return &statusError{status: http.StatusUnsupportedMediaType, Err: entropy.Errorf(entropy.CodeInvalid, "the content type is %.80q and not %s", got, want).
			WithHint("send Content-Type: %s", want)}
	}
	return nil
}

func tooLarge(limit int64) error {
	return entropy.Errorf(entropy.CodeTooLarge, "the body is larger than %d bytes", limit).WithHint("send fewer items at once, or ship large data with --input")
}

// readBody reads the whole body into buf. A body that says it is too large is
// refused unread.
func readBody(w *response, r *http.Request, limit int64, buf *bytes.Buffer) error {
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if n := r.ContentLength; n >= 0 && n <= smallBody {
		buf.Grow(int(n) + bytes.MinRead)
	} else {
		w.rc.SetReadDeadline(time.Now().Add(slowBody))
		w.rc.SetWriteDeadline(time.Now().Add(slowBody + w.idle))
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w.ResponseWriter, r.Body, limit))
	if err != nil {
		return bodyError(err, limit)
	}
	if w.pace == waiting {
		w.rc.SetReadDeadline(time.Time{}) // see lengthen
	}
	return nil
}

// What is read of a body after it was refused as too large, so that a client
// that sends before it listens gets to the answer and not to a broken connection.
const (
	drainBytes = 32 << 20
	drainTime  = time.Second
)

// drain reads and forgets what a refused client still sends, within limits.
func (w *response) drain(r *http.Request) {
	if w.rc.Flush() != nil || w.rc.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	io.CopyN(io.Discard, r.Body, drainBytes) // an error is an end, too
	w.rc.SetReadDeadline(time.Now())
}

// bodyError explains a body that did not arrive.
func bodyError(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &statusError{status: http.StatusRequestTimeout, Err: entropy.Errorf(entropy.CodeInvalid, "the body did not arrive in time").
			WithHint("send it faster, or in smaller pieces")}
	}
	return entropy.Errorf(entropy.CodeInvalid, "the body is cut short").WithHint("check the network and repeat it")
}

// decodeJSON decodes b into v, strictly.
func decodeJSON(b []byte, v any) error {
	sh := shapeOf(reflect.TypeOf(v).Elem())
	err := scan(b, sh, false)
	if err == nil {
		err = json.Unmarshal(b, v)
		if err == nil {
			return nil
		}
		if better := scan(b, sh, true); better != nil {
			err = better
		}
	}
	return entropy.Errorf(entropy.CodeInvalid, "the request is not valid: %s", explain(err)).
		WithHint("see GET /v1/openapi.yaml for the fields and their types")
}

// explain puts an error of encoding/json in the words of a fault.
func explain(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		f := fault{path: e.Field, offset: int(e.Offset), what: fmt.Sprintf("a %s does not fit %s", e.Value, kindName(e.Type))}
		return f.Error()
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		f := fault{offset: int(e.Offset), what: e.Error()}
		return f.Error()
	}
	return err.Error()
}

// kindName says what a Go type is in JSON.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "a whole number of 64 bits"
	case reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Uint32:
		return "a whole number from 0 to 4294967295"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return t.String()
}

// upload returns the body of a file of at most limit bytes. The client has the
// idle timeout for each piece, and as long as it likes for the whole.
func (s *Server) upload(w *response, r *http.Request, limit int64) (io.Reader, error) {
	if err := checkContent(r, "application/octet-stream"); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	return &pacedReader{r: http.MaxBytesReader(w.ResponseWriter, r.Body, limit), w: w, limit: limit}, nil
}

// pacedReader gives every read of a body its own deadline, and explains errors.
type pacedReader struct {
	r     io.Reader
	w     *response
	limit int64
}

// Read reads from the request's body.
func (p *pacedReader) Read(b []byte) (int, error) {
	p.w.rc.SetReadDeadline(time.Now().Add(p.w.idle))
	n, err := p.r.Read(b)
	switch {
	case err == io.EOF:
		p.w.rc.SetReadDeadline(time.Time{}) // the body is over: see lengthen
	case err != nil:
		p.w.rc.SetReadDeadline(time.Now()) // net/http reads on before it answers: not from this one
		err = bodyError(err, p.limit)
	}
	return n, err
}
