package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
)

// instant is a fabric that does nothing, at once: what is left is the wire.
type instant struct {
	recorder
	claim entropy.ClaimReply
}

func (s *instant) Submit(_ context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	out := make([]entropy.SubmitResult, len(subs))
	for i := range out {
		out[i] = entropy.SubmitResult{ID: subs[i].ID, Created: true}
	}
	return out, nil
}

func (s *instant) Claim(context.Context, entropy.ClaimRequest) (entropy.ClaimReply, error) {
	return s.claim, nil
}

func (s *instant) Ack(_ context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	out := make([]entropy.ItemResult, len(r.Items))
	for i := range out {
		out[i].AssignmentID = r.Items[i].AssignmentID
	}
	return out, nil
}

func (s *instant) Complete(_ context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	out := make([]entropy.CompletionReply, len(r.Items))
	for i := range out {
		out[i] = entropy.CompletionReply{AssignmentID: r.Items[i].AssignmentID, Verdict: entropy.VerdictAccepted}
	}
	return out, nil
}

func typicalSpec() entropy.JobSpec {
	return entropy.JobSpec{Name: "hash", Command: []string{"sha256sum", "/data/part-0001.bin"}, Labels: map[string]string{"run": "2026-11-20"},
		Artifacts: []string{"*.txt"}, RunTimeout: entropy.Duration(time.Minute)}
}

func completions(n int) entropy.CompleteRequest {
	req := entropy.CompleteRequest{Incarnation: 7}
	code, now := 0, time.Now().UTC()
	for i := range n {
		req.Items = append(req.Items, entropy.Completion{JobID: entropy.JobID(entropy.NewID()), AssignmentID: entropy.AssignmentID(entropy.NewID()), SpoolID: "spool",
			CompletionSeq: uint64(i), Outcome: entropy.OutcomeSucceeded, ExitCode: &code, StartedAt: now, FinishedAt: now,
			Usage: &entropy.Usage{UserCPU: 1e6, SystemCPU: 1e6, MaxRSS: 1 << 20, Wall: 2e6}})
	}
	return req
}

// BenchmarkWire measures whole jobs over HTTP on loopback, client and server in
// one process: submit, claim, ACK and complete, in batches.
func BenchmarkWire(b *testing.B) {
	for _, batch := range []int{1, 50, 250} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s := &instant{}
			s.fill = func(any) {}
			subs := make([]entropy.Submission, batch)
			req := completions(batch)
			ack := entropy.AckRequest{Incarnation: 7}
			for i := range subs {
				subs[i] = entropy.Submission{ID: req.Items[i].JobID, Spec: typicalSpec()}
				s.claim.Assignments = append(s.claim.Assignments, entropy.Assignment{JobID: req.Items[i].JobID, AssignmentID: req.Items[i].AssignmentID, Attempt: 1,
					TTL: entropy.Duration(15 * time.Second), AckTimeout: entropy.Duration(10 * time.Second), Spec: typicalSpec()})
				ack.Items = append(ack.Items, entropy.Held{JobID: req.Items[i].JobID, AssignmentID: req.Items[i].AssignmentID})
			}
			w := newWorld(b, s, s, nil)
			w.knowWorker("w1")
			admin, worker := w.adminClient(), w.workerClient("w1")
			ctx := context.Background()
			b.ReportAllocs()
			b.ResetTimer()
			jobs := 0
			for b.Loop() {
				if _, err := admin.Submit(ctx, subs); err != nil {
					b.Fatal(err)
				}
				if _, err := worker.Claim(ctx, entropy.ClaimRequest{Incarnation: 7, ClaimSeq: 1, Want: batch}); err != nil {
					b.Fatal(err)
				}
				if _, err := worker.Ack(ctx, ack); err != nil {
					b.Fatal(err)
				}
				if _, err := worker.Complete(ctx, req); err != nil {
					b.Fatal(err)
				}
				jobs += batch
			}
			b.ReportMetric(float64(jobs)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

// BenchmarkDecode measures what strictness costs on a batch of 250 completions.
func BenchmarkDecode(b *testing.B) {
	body, err := json.Marshal(completions(250))
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func(v *entropy.CompleteRequest) error{
		"encoding/json": func(v *entropy.CompleteRequest) error { return json.Unmarshal(body, v) },
		"strict":        func(v *entropy.CompleteRequest) error { return api.DecodeJSON(body, v) },
		"scan only":     func(v *entropy.CompleteRequest) error { return api.Scan(body, v) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var v entropy.CompleteRequest
				if err := decode(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
