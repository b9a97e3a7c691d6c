package entropy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

var (
	errStalled  = errors.New("the transfer made no progress")
	errDetached = errors.New("the upload was answered before its end")
)

// open starts a download, which the caller ends by closing the body.
func (c *Client) open(ctx context.Context, path string) (*http.Response, error) {
	return c.openQuery(ctx, path, nil)
}

func (c *Client) openQuery(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.newRequest(ctx, call{method: "GET", path: path, query: query}, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	watch := newStallWatch(c.conf.StallTimeout, cancel)
	resp, _, err := c.do(req)
	if err != nil {
		watch.stop()
		return nil, c.transportError(req, err, false)
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, watch: watch, fail: func(err error) error { return c.transportError(req, err, false) }}
	return resp, nil
}

// upload sends r, of size bytes or of unknown length when size is negative, and
// decodes the answer into out unless that is nil.
func (c *Client) upload(ctx context.Context, path string, query url.Values, size int64, r io.Reader, out any) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := newStallWatch(c.conf.StallTimeout, cancel)
	defer watch.stop()
	body := &watchedReader{r: r, watch: watch}
	defer body.detach()
	var send io.Reader = body
	if size == 0 || r == nil {
		send = http.NoBody
	}
	req, err := c.newRequest(ctx, call{method: "PUT", path: path, query: query}, send)
	if err != nil {
		return err
	}
	if size >= 0 {
		req.ContentLength = size
	}
	req.Header["Content-Type"] = []string{"application/octet-stream"}
	if size < 0 || size >= bigUpload {
		req.Header["Expect"] = []string{"100-continue"}
	}
	resp, sent, err := c.do(req)
	if err != nil {
		return c.transportError(req, err, sent)
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	b, err := readReply(resp)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	return c.readError(req, err, true)
}

// stallWatch cancels a transfer that makes no progress for a while.
type stallWatch struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newStallWatch(limit time.Duration, cancel context.CancelCauseFunc) *stallWatch {
	return &stallWatch{limit: limit, cancel: cancel, timer: time.AfterFunc(limit, func() { cancel(errStalled) })}
}

func (w *stallWatch) progress() { w.timer.Reset(w.limit) }

func (w *stallWatch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// watchedReader is the body of an upload under a stallWatch. net/http may go on
// reading it after the answer has come; detach ends that, so that the caller has
// its reader back when the call returns.
type watchedReader struct {
	mu    sync.Mutex
	r     io.Reader
	watch *stallWatch
	done  bool
}

// Read reads from the upload's source.
func (w *watchedReader) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return 0, errDetached
	}
	n, err := w.r.Read(p)
	w.watch.progress()
	return n, err
}

func (w *watchedReader) detach() {
	w.mu.Lock()
	w.done = true
	w.mu.Unlock()
}

// watchedBody is the body of a download under a stallWatch.
type watchedBody struct {
	io.ReadCloser
	watch *stallWatch
	fail  func(error) error
	once  sync.Once
}

// Read reads from the download. An error other than io.EOF is explained.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.progress()
	}
	if err != nil && err != io.EOF {
		err = b.fail(err)
	}
	return n, err
}

// Close ends the download.
func (b *watchedBody) Close() error {
	b.once.Do(b.watch.stop)
	return b.ReadCloser.Close()
}
