package actors_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// parts is a store of checkpoints in memory. It outlives the control plane.
type parts struct {
	mu   sync.Mutex
	jobs map[entropy.JobID]map[string][]byte
	room int64
}

func newParts() *parts {
	return &parts{jobs: map[entropy.JobID]map[string][]byte{}, room: 1 << 40}
}

func (p *parts) PutCheckpoint(_ context.Context, id entropy.JobID, part entropy.CheckpointPart, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || partOf(b) != part {
		return entropy.Errorf(entropy.CodeInvalid, "another content")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs[id] == nil {
		p.jobs[id] = map[string][]byte{}
	}
	p.jobs[id][part.SHA256] = b
	return nil
}

func (p *parts) MissingCheckpoint(id entropy.JobID, list []entropy.CheckpointPart) (missing []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range list {
		if int64(len(p.jobs[id][part.SHA256])) != part.Size {
			missing = append(missing, part.SHA256)
		}
	}
	return missing, nil
}

func (p *parts) OpenCheckpoint(id entropy.JobID, sum string) (io.ReadCloser, int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.jobs[id][sum]
	if !ok {
		return nil, 0, entropy.Errorf(entropy.CodeNotFound, "no part %s", sum)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (p *parts) CheckpointRoom(n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > p.room {
		return entropy.Errorf(entropy.CodeDiskFull, "no room for %d bytes", n).WithHint("make some")
	}
	return nil
}

func (p *parts) PruneCheckpoints(id entropy.JobID, keep []entropy.CheckpointPart) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	needed := map[string]bool{}
	for _, k := range keep {
		m, err := entropy.DecodeCheckpointManifest(p.jobs[id][k.SHA256])
		if err != nil {
			return err
		}
		needed[k.SHA256] = true
		for _, pack := range m.Packs {
			needed[pack.SHA256] = true
		}
	}
	maps.DeleteFunc(p.jobs[id], func(sum string, _ []byte) bool { return !needed[sum] })
	if len(p.jobs[id]) == 0 {
		delete(p.jobs, id)
	}
	return nil
}

func (p *parts) CheckpointJobs() ([]entropy.JobID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.jobs)), nil
}

func (p *parts) count(id entropy.JobID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.jobs[id])
}

func partOf(b []byte) entropy.CheckpointPart {
	sum := sha256.Sum256(b)
	return entropy.CheckpointPart{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}

// checkpoint returns a checkpoint of one file: its manifest and its pack.
func checkpoint(content string) (manifest, pack []byte) {
	pack = []byte(content)
	m := entropy.CheckpointManifest{Format: entropy.CheckpointFormat, ChunkSize: 4096, Packs: []entropy.CheckpointPart{partOf(pack)},
		Files: []entropy.CheckpointFile{{Path: "state", Mode: 0o600, Size: int64(len(pack)),
			Chunks: entropy.ChunkList(nil).Append(entropy.Chunk{SHA256: sha256.Sum256(pack), Size: uint32(len(pack))})}}}
	manifest, _, err := m.Encode()
	if err != nil {
		panic(err)
	}
	return manifest, pack
}

// upload stores the parts of a checkpoint.
func (n *node) upload(h entropy.Held, content string) error {
	manifest, pack := checkpoint(content)
	var errs []error
	for _, b := range [][]byte{manifest, pack} {
		errs = append(errs, n.l.sys.PutCheckpointPart(n.ctx, entropy.CheckpointUpload{JobID: h.JobID, AssignmentID: h.AssignmentID, CheckpointPart: partOf(b)}, bytes.NewReader(b)))
	}
	return errors.Join(errs...)
}

func (n *node) commit(h entropy.Held, seq uint64, content string) (entropy.CheckpointReply, error) {
	manifest, _ := checkpoint(content)
	return n.l.sys.CommitCheckpoint(n.ctx, entropy.CheckpointCommit{JobID: h.JobID, AssignmentID: h.AssignmentID, Seq: seq, Manifest: partOf(manifest)})
}

// save uploads and commits.
func (n *node) save(h entropy.Held, seq uint64, content string) {
	n.l.t.Helper()
	if err := n.upload(h, content); err != nil {
		n.l.t.Fatal(err)
	}
	if r, err := n.commit(h, seq, content); err != nil || len(r.Missing) > 0 {
		n.l.t.Fatalf("commit %d: %+v, %v", seq, r, err)
	}
}

func saving() entropy.JobSpec { return entropy.JobSpec{Checkpoint: new(entropy.CheckpointPolicy)} }

func (l *lab) wantCode(err error, code entropy.Code) {
	l.t.Helper()
	if got := entropy.ErrorCode(err); got != code {
		l.t.Fatalf("code %q, want %q: %v", got, code, err)
	}
}

// proves H-10: the last committed of the highest ACKed attempt comes first; an
// attempt whose lease has ended may not save, until it has it back; one that was
// overtaken may not save, send or read any more
func TestCheckpointFence(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(saving())
		w1, w2 := l.worker("w1"), l.worker("w2")
		h1 := w1.run()
		w1.save(h1, 1, "first 1")
		l.pass(40 * time.Second) // its lease ends
		l.want(id, entropy.Pending)
		if err := w1.upload(h1, "first 2"); entropy.ErrorCode(errors.Unwrap(err)) == "" && err == nil {
			t.Fatal("it sent parts without a lease")
		}
		_, err := w1.commit(h1, 2, "first 1")
		l.wantCode(err, entropy.CodeUnavailable)
		w1.beat() // it is back
		l.want(id, entropy.Running)
		w1.save(h1, 2, "first 2")

		l.pass(40 * time.Second)
		w2.beat()
		as := w2.claim(1)
		if len(as) != 1 || len(as[0].Checkpoints) != 2 || as[0].Checkpoints[0].Seq != 2 || as[0].Checkpoints[0].Attempt != 1 {
			t.Fatalf("claimed %+v", as)
		}
		h2 := entropy.Held{JobID: id, AssignmentID: as[0].AssignmentID}
		manifest, _ := checkpoint("first 2")
		r, err := l.sys.OpenCheckpointPart(w2.ctx, id, h2.AssignmentID, partOf(manifest).SHA256) // before its ACK
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if err := w2.ack(h2); err != nil {
			t.Fatal(err)
		}
		w2.held = []entropy.Held{h2}
		_, err = w1.commit(h1, 3, "first 2")
		l.wantCode(err, entropy.CodeSuperseded)
		_, err = l.sys.OpenCheckpointPart(w1.ctx, id, h1.AssignmentID, partOf(manifest).SHA256)
		l.wantCode(err, entropy.CodeSuperseded)
		before := l.parts.count(id)
		if err := w1.upload(h1, "too late"); err == nil || l.parts.count(id) != before {
			t.Fatalf("%v, %d parts after %d", err, l.parts.count(id), before)
		}
		w2.save(h2, 1, "second 1")
		w2.complete(h2, entropy.OutcomeFailed)
		l.pass(5 * time.Second)
		w1.held = nil
		w1.beat()
		as = w1.claim(1)
		if len(as) != 1 || len(as[0].Checkpoints) != 2 || as[0].Checkpoints[0].AssignmentID != h2.AssignmentID || as[0].Checkpoints[1].Seq != 2 {
			t.Fatalf("claimed %+v", as)
		}
	})
}

// proves H-10, P-1: the control plane dies between upload and commit, or between
// the commit and its answer: nothing is sent again, nothing is recorded twice
func TestCheckpointCrash(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(saving())
		w := l.worker("w1")
		h := w.run()
		w.save(h, 1, "one")
		if err := w.upload(h, "two"); err != nil {
			t.Fatal(err)
		}
		l.crash()
		w.beat()
		if j := l.want(id, entropy.Running); len(j.Checkpoints) != 1 || j.Checkpoints[0].Seq != 1 {
			t.Fatalf("checkpoints %+v", j.Checkpoints)
		}
		if r, err := w.commit(h, 2, "two"); err != nil || len(r.Missing) > 0 || r.Repeat {
			t.Fatalf("%+v, %v", r, err)
		}
		l.crash()
		w.beat()
		if r, err := w.commit(h, 2, "two"); err != nil || !r.Repeat {
			t.Fatalf("%+v, %v", r, err)
		}
		l.journal.set(func(entropy.Change) error { return entropy.Errorf(entropy.CodeDiskFull, "full") })
		if err := w.upload(h, "three"); err != nil {
			t.Fatal(err)
		}
		_, err := w.commit(h, 3, "three")
		l.wantCode(err, entropy.CodeDiskFull)
		l.journal.set(nil)
		if r, err := w.commit(h, 3, "three"); err != nil || len(r.Missing) > 0 || r.Repeat {
			t.Fatalf("%+v, %v", r, err)
		}
		if j := l.want(id, entropy.Running); len(j.Checkpoints) != 2 || j.Checkpoints[1].Seq != 3 || l.parts.count(id) != 4 {
			t.Fatalf("%d parts, checkpoints %+v", l.parts.count(id), j.Checkpoints)
		}
	})
}

// proves H-10: no room, or too large: refused with the reason, recorded once, what
// was sent for it goes, and the one before stays
func TestCheckpointNoRoom(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := saving()
		spec.Checkpoint.MaxSize = 100
		id := l.submit(spec)
		w := l.worker("w1")
		h := w.run()
		w.save(h, 1, "one")
		l.parts.room = 50
		offer := entropy.CheckpointOffer{JobID: id, AssignmentID: h.AssignmentID, Size: 100, Upload: 51}
		l.wantCode(l.sys.OfferCheckpoint(w.ctx, offer), entropy.CodeDiskFull)
		offer.Size = 101
		l.wantCode(l.sys.OfferCheckpoint(w.ctx, offer), entropy.CodeTooLarge)
		if err := w.upload(h, "half of it"); err != nil {
			t.Fatal(err)
		}
		if err := l.sys.OfferCheckpoint(w.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: h.AssignmentID, Refused: "the rest did not fit"}); err != nil {
			t.Fatal(err)
		}
		j := l.want(id, entropy.Running)
		if j.CheckpointRefused == "" || len(j.Checkpoints) != 1 || l.parts.count(id) != 2 {
			t.Errorf("refused %q, %d parts, checkpoints %+v", j.CheckpointRefused, l.parts.count(id), j.Checkpoints)
		}
		refusals := 0
		for _, e := range l.journal.events {
			if e.Type == entropy.JobCheckpointRefused {
				refusals++
			}
		}
		if refusals != 1 {
			t.Errorf("%d refusals were recorded", refusals)
		}
		offer.Size, offer.Upload = 100, 50
		if err := l.sys.OfferCheckpoint(w.ctx, offer); err != nil {
			t.Error(err)
		}
		l.journal.mu.Lock()
		l.journal.readOnly = true
		l.journal.mu.Unlock()
		l.wantCode(l.sys.OfferCheckpoint(w.ctx, offer), entropy.CodeDiskFull)
	})
}

// proves H-10, S-5: a manifest is a worker's word: one that is not valid is refused
func TestCheckpointHostileManifest(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(saving())
		w := l.worker("w1")
		h := w.run()
		for _, bad := range []string{"", "{}", "null", `{"format":1,"files":[{"path":"../x","mode":420,"size":0,"chunks":""}]}`, `{"format":1,"packs":[{"sha256":"x","size":1}]}`} {
			b := []byte(bad)
			up := entropy.CheckpointUpload{JobID: id, AssignmentID: h.AssignmentID, CheckpointPart: partOf(b)}
			if err := l.sys.PutCheckpointPart(w.ctx, up, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
			_, err := l.sys.CommitCheckpoint(w.ctx, entropy.CheckpointCommit{JobID: id, AssignmentID: h.AssignmentID, Seq: 1, Manifest: partOf(b)})
			l.wantCode(err, entropy.CodeInvalid)
		}
		if j := l.want(id, entropy.Running); len(j.Checkpoints) != 0 {
			t.Errorf("checkpoints %+v", j.Checkpoints)
		}
	})
}

// proves H-10: what a job needs no more is removed: at its success at once; of one
// that failed when it is old enough; of one that nobody knows. A live one keeps
// what it has, and what it is just sending.
func TestCheckpointRetention(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := saving()
		spec.Retry.MaxAttempts = 1
		w := l.worker("w1")
		run := func() entropy.Held {
			l.submit(spec)
			h := w.run()
			w.held = nil
			w.save(h, 1, "state of "+string(h.JobID))
			return h
		}
		good, bad, live := run(), run(), run()
		w.complete(good, entropy.OutcomeSucceeded)
		if n := l.parts.count(good.JobID); n != 0 {
			t.Errorf("%d parts of a job that succeeded", n)
		}
		w.complete(bad, entropy.OutcomeFailed)
		if err := w.upload(live, "the next"); err != nil {
			t.Fatal(err)
		}
		if err := l.parts.PutCheckpoint(w.ctx, "unknown", partOf([]byte("x")), bytes.NewReader([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		sweep := func(before time.Time, want int) {
			t.Helper()
			if n, err := l.sys.SweepCheckpoints(t.Context(), before); err != nil || n != want {
				t.Errorf("swept %d, %v; want %d", n, err, want)
			}
		}
		sweep(time.Now().Add(-time.Hour), 1)
		if l.parts.count("unknown") != 0 || l.parts.count(bad.JobID) != 2 || l.parts.count(live.JobID) != 4 {
			t.Errorf("%d parts of a failed job, %d of a live one", l.parts.count(bad.JobID), l.parts.count(live.JobID))
		}
		sweep(time.Now().Add(time.Hour), 1)
		if l.parts.count(bad.JobID) != 0 || l.parts.count(live.JobID) != 4 {
			t.Errorf("%d parts of a failed job, %d of a live one", l.parts.count(bad.JobID), l.parts.count(live.JobID))
		}
	})
}

// proves H-10: a job that is gone may be swept while it saves: whatever comes
// first, no committed checkpoint lacks a part
func TestCheckpointSweepBesideCommit(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(saving())
		w := l.worker("w1")
		h := w.run()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 50 {
				_, _ = l.sys.SweepCheckpoints(context.Background(), time.Now())
				_ = l.sys.OfferCheckpoint(w.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: h.AssignmentID, Refused: "no"})
			}
		}()
		for seq := uint64(1); seq <= 50; seq++ {
			content := string(rune('a' + seq))
			for range 100 { // what a refusal removed meanwhile is sent again
				if err := w.upload(h, content); err != nil {
					t.Fatal(err)
				}
				if r, err := w.commit(h, seq, content); err != nil {
					t.Fatal(err)
				} else if len(r.Missing) == 0 {
					break
				}
			}
			j := l.job(id)
			for _, c := range j.Checkpoints {
				if missing, _ := l.parts.MissingCheckpoint(id, []entropy.CheckpointPart{c.Manifest}); len(missing) > 0 {
					t.Fatalf("checkpoint %d has lost its manifest", c.Seq)
				}
			}
		}
		<-done
	})
}
