package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) listArtifacts(w *response, r *http.Request) error {
	id, err := jobID(r)
	if err := firstOf(err, noQuery(r)); err != nil {
		return err
	}
	j, err := s.conf.Service.Job(r.Context(), id)
	if err != nil {
		return err
	}
	list := entropy.ArtifactList{Artifacts: j.Artifacts}
	if list.Artifacts == nil {
		list.Artifacts = []entropy.Artifact{}
	}
	return answer(w, http.StatusOK, list)
}

// getArtifact sends one artifact, or the ranges that were asked for. It is
// always a download: what a job leaves is never shown as a page of this site.
func (s *Server) getArtifact(w *response, r *http.Request) error {
	id, err := jobID(r)
	if err := firstOf(err, noQuery(r)); err != nil {
		return err
	}
	name := r.PathValue("name")
	open := func() (io.ReadCloser, entropy.Artifact, error) {
		return s.conf.Service.OpenArtifact(r.Context(), id, name)
	}
	body, a, err := open()
	if err != nil {
		return err
	}
	content := &seekable{open: open, body: body, size: a.Size}
	defer content.Close()
	h := w.Header()
	h["Content-Type"] = contentBinary
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	h.Set("Etag", `"`+a.SHA256+`"`)
	h.Set("Cache-Control", "private, no-cache") // may be kept, but not shown without asking: the token may be revoked
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}

var contentBinary = []string{"application/octet-stream"}

// seekable makes an artifact's content an io.ReadSeeker: it skips forward by
// reading, and goes back by opening again.
type seekable struct {
	open func() (io.ReadCloser, entropy.Artifact, error)
	body io.ReadCloser
	size int64
	at   int64 // where body is
	want int64 // where the next Read begins
}

// Read reads at the place of the last Seek.
func (c *seekable) Read(p []byte) (int, error) {
	if c.want != c.at {
		if err := c.move(); err != nil {
			return 0, err
		}
	}
	n, err := c.body.Read(p)
	c.at += int64(n)
	c.want = c.at
	return n, err
}

func (c *seekable) move() error {
	if sk, ok := c.body.(io.Seeker); ok {
		at, err := sk.Seek(c.want, io.SeekStart)
		c.at = at
		return err
	}
	if c.want < c.at {
		body, _, err := c.open()
		if err != nil {
			return err
		}
		c.body.Close()
		c.body, c.at = body, 0
	}
	n, err := io.CopyN(io.Discard, c.body, c.want-c.at)
	c.at += n
	return err
}

// Seek sets the place of the next Read.
func (c *seekable) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.want
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 || offset > c.size {
		return 0, fmt.Errorf("seek to %d of %d bytes", offset, c.size)
	}
	c.want = offset
	return offset, nil
}

// Close closes the content.
func (c *seekable) Close() error { return c.body.Close() }

// checkHash refuses what is not a SHA-256 in lower-case hex.
func checkHash(sum string) error {
	if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 || strings.ToLower(sum) != sum {
		return entropy.Errorf(entropy.CodeInvalid, "%.80q is not a SHA-256 in lower-case hex", sum).WithHint("sha256sum FILE prints it")
	}
	return nil
}

// headBlob says whether an input is stored: 200 or 404.
func (s *Server) headBlob(w *response, r *http.Request) error {
	sum := r.PathValue("sha256")
	if err := firstOf(checkHash(sum), noQuery(r)); err != nil {
		return err
	}
	missing, err := s.conf.Service.HasBlobs(r.Context(), []string{sum})
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return entropy.Errorf(entropy.CodeNotFound, "blob %s is not stored", sum)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) putBlob(w *response, r *http.Request) error {
	sum := r.PathValue("sha256")
	if err := firstOf(checkHash(sum), noQuery(r)); err != nil {
		return err
	}
	if r.ContentLength < 0 {
		return &statusError{status: http.StatusLengthRequired, Err: entropy.Errorf(entropy.CodeInvalid, "the size of the blob is not given").WithHint("send Content-Length")}
	}
	body, err := s.upload(w, r, s.conf.MaxFile)
	if err != nil {
		return err
	}
	if err := s.conf.Service.PutBlob(r.Context(), sum, r.ContentLength, body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) missingBlobs(w *response, r *http.Request) error {
	var body entropy.BlobList
	if err := firstOf(noQuery(r), readJSON(w, r, batchBody, &body)); err != nil {
		return err
	}
	if err := checkBatch("sha256", len(body.SHA256)); err != nil {
		return err
	}
	for _, sum := range body.SHA256 {
		if err := checkHash(sum); err != nil {
			return err
		}
	}
	missing, err := s.conf.Service.HasBlobs(r.Context(), body.SHA256)
	if err != nil {
		return err
	}
	if missing == nil {
		missing = []string{}
	}
	return answer(w, http.StatusOK, entropy.BlobList{SHA256: missing})
}

// copyOut sends content of unknown size.
func copyOut(ctx context.Context, w *response, content io.Reader) error {
	w.Header()["Content-Type"] = contentBinary
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("send content: %w", firstOf(context.Cause(ctx), err))
	}
	return nil
}
