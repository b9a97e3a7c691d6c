package api_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func (r *recorder) OfferCheckpoint(_ context.Context, o entropy.CheckpointOffer) error {
	r.got = []any{o}
	return nil
}

func (r *recorder) PutCheckpointPart(_ context.Context, u entropy.CheckpointUpload, in io.Reader) error {
	b, err := io.ReadAll(in)
	r.got = []any{u, string(b)}
	return err
}

func (r *recorder) CommitCheckpoint(_ context.Context, c entropy.CheckpointCommit) (out entropy.CheckpointReply, err error) {
	r.call(&out, c)
	return out, nil
}

func (r *recorder) OpenCheckpointPart(_ context.Context, id entropy.JobID, a entropy.AssignmentID, sum string) (io.ReadCloser, error) {
	r.got = []any{id, a, sum}
	return io.NopCloser(strings.NewReader(content)), nil
}

// proves H-10: every method of CheckpointService carries every field there and back
func TestCheckpointServiceCarriesEveryField(t *testing.T) {
	c := newTrip(t)
	ws, ctx := c.w.client(entropy.ClientConfig{WorkerKey: c.w.key("w1")}), t.Context()
	c.w.knowWorker("w1")
	offer := filled[entropy.CheckpointOffer]()
	c.check("OfferCheckpoint", ws.OfferCheckpoint(ctx, offer), nil, nil, offer)
	part := entropy.CheckpointPart{SHA256: otherSum, Size: int64(len(content))}
	up := entropy.CheckpointUpload{JobID: "j1", AssignmentID: "a1", CheckpointPart: part}
	c.check("PutCheckpointPart", ws.PutCheckpointPart(ctx, up, strings.NewReader(content)), nil, nil, up, content)
	commit := entropy.CheckpointCommit{JobID: "j1", AssignmentID: "a1", Seq: 1<<64 - 1, Manifest: part, Uploaded: 1 << 40}
	reply, err := ws.CommitCheckpoint(ctx, commit)
	c.check("CommitCheckpoint", err, reply, c.answer(new(entropy.CheckpointReply)), commit)
	r, err := ws.OpenCheckpointPart(ctx, "j1", "a1", otherSum)
	c.check("OpenCheckpointPart", err, nil, nil, entropy.JobID("j1"), entropy.AssignmentID("a1"), otherSum)
	wantContent(t, r)
}

// proves S-5: names that are none are refused before they reach the store
func TestCheckpointBadNames(t *testing.T) {
	w, _ := memoryWorld(t)
	key := w.knowWorker("w1")
	base := "/v1/worker/checkpoints/"
	for _, path := range []string{base + "a1/" + otherSum, base + "a1/" + otherSum + "?job=..", base + "a1/" + strings.ToUpper(otherSum) + "?job=j1",
		base + "a1/..%2f..%2fjournal.db?job=j1", base + ".a/" + otherSum + "?job=j1", base + "a1/" + otherSum + "?job=j1&job=j2", base + "a1/" + otherSum + "?job=j1&x=1"} {
		for _, method := range []string{"GET", "PUT"} {
			resp, body := w.do(request{method: method, path: path, token: key, body: "x", header: map[string]string{"Content-Type": "application/octet-stream"}})
			if resp.StatusCode != 400 {
				t.Errorf("%s %s: status %d: %.200s", method, path, resp.StatusCode, body)
			}
		}
	}
	for _, body := range []string{"{}", `{"job_id":"j1","assignment_id":"a1","seq":1,"manifest":{"sha256":"../x","size":1},"uploaded":0}`} {
		w.want(request{method: "POST", path: "/v1/worker/checkpoint/commit", token: key, body: body}, 400)
	}
}
