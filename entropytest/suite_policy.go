package entropytest

import (
	"strings"

	"github.com/entropy-fabric/entropy"
)

// proves J-8, J-10 (settings): the policy is replaced as a whole, from the version
// that one has read, and refused when it cannot be meant
func testPolicy(s *suite) {
	before, err := s.Service.Policy(s.ctx)
	s.must(err)
	next := before
	next.Queues = map[string]entropy.QueuePolicy{"gpu": {Paused: true, Reason: "moving house", MaxRunning: 4}}
	next.Tenants = map[string]entropy.TenantPolicy{"lab": {Weight: 3}}
	after, err := s.Service.SetPolicy(s.ctx, next, entropy.Operation{Reason: "test"})
	s.must(err)
	got, err := s.Service.Policy(s.ctx)
	s.must(err)
	if got.Version != before.Version+1 || after.Version != got.Version || !got.Queues["gpu"].Paused || got.Weight("lab") != 3 {
		s.Fatalf("policy %+v after %+v", got, before)
	}
	_, err = s.Service.SetPolicy(s.ctx, before, entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	got.Gates = []entropy.Gate{{Slots: -1}}
	_, err = s.Service.SetPolicy(s.ctx, got, entropy.Operation{})
	s.wantCode(err, entropy.CodeInvalid)
}

// proves J-9: a job's state is explained in words, with what would change it
func testExplain(s *suite) {
	_, err := s.Service.Explain(s.ctx, "nope")
	s.wantCode(err, entropy.CodeNotFound)
	w := s.node("w1")
	id := s.submit(command("true"))
	a := w.start()
	x, err := s.Service.Explain(s.ctx, id)
	s.must(err)
	if x.JobID != id || x.State != entropy.Running || !strings.Contains(x.Summary, "w1") || len(x.Causes) != 0 {
		s.Fatalf("running: %+v", x)
	}
	w.accept(w.exit(a, 0))
	id = s.submit(command("false"))
	_, err = s.Service.Cancel(s.ctx, id, entropy.Operation{Reason: "not needed"})
	s.must(err)
	x, err = s.Service.Explain(s.ctx, id)
	s.must(err)
	if x.State != entropy.Canceled || len(x.Causes) != 1 || !strings.Contains(x.Summary, "not needed") || !strings.Contains(x.Causes[0].Fix, string(id)) {
		s.Fatalf("canceled: %+v", x)
	}
}
