package entropytest

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// saving is the spec of a job that saves checkpoints.
func saving(p entropy.CheckpointPolicy) entropy.JobSpec {
	spec := command("true")
	spec.Checkpoint = &p
	return spec
}

// manifest returns a checkpoint of one file, and its parts by their names.
func (s *suite) manifest(content string) (entropy.CheckpointPart, map[string][]byte) {
	s.Helper()
	pack := entropy.CheckpointPart{SHA256: hash([]byte(content)), Size: int64(len(content))}
	m := entropy.CheckpointManifest{Format: entropy.CheckpointFormat, ChunkSize: 8192, Packs: []entropy.CheckpointPart{pack},
		Files: []entropy.CheckpointFile{{Path: "state", Mode: 0o644, Size: pack.Size,
			Chunks: entropy.ChunkList(nil).Append(entropy.Chunk{SHA256: sha256.Sum256([]byte(content)), Size: uint32(pack.Size)})}}}
	b, part, err := m.Encode()
	s.must(err)
	return part, map[string][]byte{pack.SHA256: []byte(content), part.SHA256: b}
}

func (n *node) put(a entropy.Assignment, content []byte) error {
	return n.PutCheckpointPart(n.ctx, entropy.CheckpointUpload{JobID: a.JobID, AssignmentID: a.AssignmentID,
		CheckpointPart: entropy.CheckpointPart{SHA256: hash(content), Size: int64(len(content))}}, bytes.NewReader(content))
}

func (n *node) commit(a entropy.Assignment, seq uint64, m entropy.CheckpointPart) (entropy.CheckpointReply, error) {
	return n.CommitCheckpoint(n.ctx, entropy.CheckpointCommit{JobID: a.JobID, AssignmentID: a.AssignmentID, Seq: seq, Manifest: m, Uploaded: 7})
}

// save stores and commits a checkpoint of one file.
func (n *node) save(a entropy.Assignment, seq uint64, content string) entropy.CheckpointPart {
	n.Helper()
	m, parts := n.manifest(content)
	for _, b := range parts {
		n.must(n.put(a, b))
	}
	reply, err := n.commit(a, seq, m)
	n.must(err)
	if len(reply.Missing) > 0 || reply.Repeat {
		n.Fatalf("commit %d: %+v", seq, reply)
	}
	return m
}

// proves H-10, J-13: what is missing is named, the newest are kept and handed to
// the next attempt, a repeat changes nothing, wrong content is refused
func testCheckpoints(s *suite) {
	id := s.submit(saving(entropy.CheckpointPolicy{}))
	w := s.node("w1")
	a := w.start()
	if len(a.Checkpoints) != 0 {
		s.Fatalf("a new job resumes from %+v", a.Checkpoints)
	}
	s.must(w.OfferCheckpoint(s.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: a.AssignmentID, Size: 3, Upload: 3}))
	m, parts := s.manifest("one")
	for range parts {
		reply, err := w.commit(a, 1, m)
		s.must(err)
		if len(reply.Missing) != 1 || parts[reply.Missing[0]] == nil {
			s.Fatalf("missing %+v", reply)
		}
		wrong := entropy.CheckpointUpload{JobID: id, AssignmentID: a.AssignmentID, CheckpointPart: entropy.CheckpointPart{SHA256: reply.Missing[0], Size: 5}}
		s.wantCode(w.PutCheckpointPart(s.ctx, wrong, strings.NewReader("wrong")), entropy.CodeInvalid)
		s.must(w.put(a, parts[reply.Missing[0]]))
	}
	for i := range 2 {
		reply, err := w.commit(a, 1, m)
		s.must(err)
		if len(reply.Missing) > 0 || reply.Repeat != (i == 1) {
			s.Fatalf("commit %d: %+v", i, reply)
		}
	}
	m2 := w.save(a, 2, "two")
	m3 := w.save(a, 3, "three")
	j := s.wantState(id, entropy.Running)
	if len(j.Checkpoints) != 2 || j.Checkpoints[1].Manifest != m3 || j.Checkpoints[1].Size != 5 || j.Checkpoints[1].Files != 1 || j.Checkpoints[1].Uploaded != 7 {
		s.Fatalf("checkpoints %+v", j.Checkpoints)
	}
	w.accept(w.exit(a, 1))
	next := w.start()
	if len(next.Checkpoints) != 2 || next.Checkpoints[0].Manifest != m3 || next.Checkpoints[1].Manifest != m2 {
		s.Fatalf("attempt 2 resumes from %+v", next.Checkpoints)
	}
	_, parts = s.manifest("three")
	for sum, want := range parts {
		r, err := w.OpenCheckpointPart(s.ctx, id, next.AssignmentID, sum)
		s.must(err)
		if !bytes.Equal(s.read(r), want) {
			s.Errorf("part %s has another content", sum)
		}
	}
	_, err := w.OpenCheckpointPart(s.ctx, id, next.AssignmentID, hash([]byte("nope")))
	s.wantCode(err, entropy.CodeNotFound)
	w.accept(w.exit(next, 0))
	if j := s.ended(id, entropy.Succeeded); len(j.Checkpoints) != 0 {
		s.Fatalf("a job that succeeded keeps %+v", j.Checkpoints)
	}
}

// proves H-10: only the live assignment's worker may save or read
func testCheckpointFence(s *suite) {
	id := s.submit(saving(entropy.CheckpointPolicy{}))
	w, thief := s.node("w1"), s.node("w2")
	a := w.claimOne()
	m, parts := s.manifest("one")
	s.wantCode(w.put(a, parts[m.SHA256]), entropy.CodeUnavailable) // not ACKed yet
	w.ack(a)
	m = w.save(a, 1, "one")
	s.wantCode(thief.put(a, []byte("x")), entropy.CodeForbidden)
	_, err := thief.commit(a, 2, m)
	s.wantCode(err, entropy.CodeForbidden)
	_, err = thief.OpenCheckpointPart(s.ctx, id, a.AssignmentID, m.SHA256)
	s.wantCode(err, entropy.CodeForbidden)
	s.wantCode(thief.OfferCheckpoint(s.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: a.AssignmentID, Refused: "no"}), entropy.CodeForbidden)
	w.accept(w.exit(a, 1))
	second := w.start()
	s.wantCode(w.put(a, []byte("late")), entropy.CodeSuperseded)
	_, err = w.commit(a, 2, m)
	s.wantCode(err, entropy.CodeSuperseded)
	_, err = w.OpenCheckpointPart(s.ctx, id, a.AssignmentID, m.SHA256)
	s.wantCode(err, entropy.CodeSuperseded)
	if j := s.job(id); len(j.Checkpoints) != 1 || j.Checkpoints[0].Attempt != 1 {
		s.Fatalf("checkpoints %+v", j.Checkpoints)
	}
	w.accept(w.exit(second, 0))
}

// proves H-10: too large is refused and said once, and the one before stays; a job
// without the policy saves none
func testCheckpointRefused(s *suite) {
	id := s.submit(saving(entropy.CheckpointPolicy{MaxSize: 10}))
	w := s.node("w1")
	a := w.start()
	w.save(a, 1, "one")
	for range 2 {
		err := w.OfferCheckpoint(s.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: a.AssignmentID, Size: 11, Upload: 1})
		s.wantCode(err, entropy.CodeTooLarge)
	}
	s.must(w.OfferCheckpoint(s.ctx, entropy.CheckpointOffer{JobID: id, AssignmentID: a.AssignmentID, Refused: "again"}))
	refusals := 0
	for _, e := range s.events(entropy.Entity(entropy.KindJob, string(id))) {
		if e.Type == entropy.JobCheckpointRefused {
			refusals++
		}
	}
	if j := s.job(id); refusals != 1 || len(j.Checkpoints) != 1 || !strings.Contains(j.CheckpointRefused, "11 bytes") {
		s.Fatalf("%d refusals, %q, checkpoints %+v", refusals, j.CheckpointRefused, j.Checkpoints)
	}
	w.save(a, 2, "two")
	if j := s.job(id); j.CheckpointRefused != "" || len(j.Checkpoints) != 2 {
		s.Fatalf("%q, checkpoints %+v", j.CheckpointRefused, j.Checkpoints)
	}
	w.accept(w.exit(a, 0))
	plain := s.submit(command("true"))
	b := w.start()
	s.wantCode(w.OfferCheckpoint(s.ctx, entropy.CheckpointOffer{JobID: plain, AssignmentID: b.AssignmentID, Size: 1, Upload: 1}), entropy.CodeInvalid)
	s.wantCode(w.put(b, []byte("x")), entropy.CodeInvalid)
	w.accept(w.exit(b, 0))
	if slices.ContainsFunc(s.events(""), func(e entropy.Event) bool {
		return e.Type == entropy.JobCheckpointed && e.EntityID == entropy.Entity(entropy.KindJob, string(plain))
	}) {
		s.Error("a job without the policy saved a checkpoint")
	}
}
