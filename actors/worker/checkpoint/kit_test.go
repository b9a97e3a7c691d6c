package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// remote is a fabric in memory that keeps the checkpoints of one job.
type remote struct {
	mu        sync.Mutex
	parts     map[string][]byte
	committed []entropy.Checkpoint // newest first
	refusals  []string
	sent      int64 // bytes that were read of what was sent
	puts      int
	fault     func(op string) error // before a call has any effect
	lose      bool                  // the answer of the next commit
}

func newRemote() *remote { return &remote{parts: map[string][]byte{}} }

func (r *remote) enter(op string) error {
	if r.fault != nil {
		return r.fault(op)
	}
	return nil
}

func (r *remote) OfferCheckpoint(_ context.Context, o entropy.CheckpointOffer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Refused != "" {
		r.refusals = append(r.refusals, o.Refused)
	}
	return r.enter("offer")
}

func (r *remote) PutCheckpointPart(_ context.Context, u entropy.CheckpointUpload, in io.Reader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter("put"); err != nil {
		return err
	}
	if r.parts[u.SHA256] != nil {
		return nil
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != u.SHA256 || int64(len(b)) != u.Size {
		return entropy.Errorf(entropy.CodeInvalid, "the content is another one")
	}
	r.parts[u.SHA256], r.sent, r.puts = b, r.sent+u.Size, r.puts+1
	return nil
}

func (r *remote) CommitCheckpoint(_ context.Context, c entropy.CheckpointCommit) (reply entropy.CheckpointReply, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter("commit"); err != nil {
		return reply, err
	}
	b := r.parts[c.Manifest.SHA256]
	if b == nil {
		return entropy.CheckpointReply{Missing: []string{c.Manifest.SHA256}}, nil
	}
	m, err := entropy.DecodeCheckpointManifest(b)
	if err != nil {
		return reply, err
	}
	for _, p := range m.Packs {
		if r.parts[p.SHA256] == nil {
			reply.Missing = append(reply.Missing, p.SHA256)
		}
	}
	if len(reply.Missing) > 0 {
		return reply, nil
	}
	if len(r.committed) > 0 && c.Seq <= r.committed[0].Seq {
		if c.Seq == r.committed[0].Seq && c.Manifest != r.committed[0].Manifest {
			return reply, entropy.Errorf(entropy.CodeConflict, "seq %d is taken", c.Seq)
		}
		return entropy.CheckpointReply{Repeat: true}, nil
	}
	r.committed = append([]entropy.Checkpoint{{Attempt: 1, Seq: c.Seq, Manifest: c.Manifest, Size: m.Size(), Files: len(m.Files)}}, r.committed...)
	if r.lose {
		r.lose = false
		return reply, entropy.Errorf(entropy.CodeUnknown, "the answer was lost")
	}
	return reply, nil
}

func (r *remote) OpenCheckpointPart(_ context.Context, _ entropy.JobID, _ entropy.AssignmentID, sum string) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter("open"); err != nil {
		return nil, err
	}
	b := r.parts[sum]
	if b == nil {
		return nil, entropy.Errorf(entropy.CodeNotFound, "no part %s", sum)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// attempt is one assignment's workspace and saver.
type attempt struct {
	*Saver
	t    testing.TB
	dir  Dir
	conf Config
}

func newAttempt(t testing.TB, maxSize int64) *attempt { return newAttemptIn(t, t.TempDir(), maxSize) }

func newAttemptIn(t testing.TB, work string, maxSize int64) *attempt {
	t.Helper()
	d := At(work)
	if err := d.Make(&entropy.CheckpointPolicy{MaxSize: maxSize}); err != nil {
		t.Fatal(err)
	}
	conf := Config{Dir: d, JobID: "j", AssignmentID: "a", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	return &attempt{New(conf), t, d, conf}
}

// mark writes files into a directory and renames it into ready/.
func (a *attempt) mark(name string, files map[string]string) {
	a.t.Helper()
	dir := filepath.Join(a.dir.Job(), "next")
	for p, content := range files {
		write(a.t, filepath.Join(dir, p), content)
	}
	a.rename(dir, name)
}

func (a *attempt) rename(from, name string) {
	a.t.Helper()
	if err := os.Rename(from, filepath.Join(a.dir.ready(), name)); err != nil {
		a.t.Fatal(err)
	}
}

// markFile marks one file of some content.
func (a *attempt) markFile(name string, content []byte) {
	a.t.Helper()
	write(a.t, filepath.Join(a.dir.Job(), name), string(content))
	a.rename(filepath.Join(a.dir.Job(), name), name)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// save saves what is ready as at the end of the run, and fails unless that is the outcome.
func (a *attempt) save(r *remote, want Result) {
	a.t.Helper()
	got, err := a.Save(a.t.Context(), r, true)
	if err != nil || got != want {
		a.t.Fatalf("save: result %d, %v; want %d", got, err, want)
	}
}

// restore restores the remote's checkpoints into a new attempt's workspace.
func restored(t testing.TB, r *remote) (*attempt, string) {
	t.Helper()
	a := newAttempt(t, 0)
	note, err := Restore(t.Context(), a.conf, r, r.committed)
	if err != nil {
		t.Fatal(err)
	}
	return a, note
}

func (a *attempt) read(name string) string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir.restored(), name))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// noise returns bytes that do not repeat.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	rand.NewChaCha8(key).Read(b)
	return b
}
