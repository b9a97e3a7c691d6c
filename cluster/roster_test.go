package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves C-2, L-4: events tell of names, whatever the order in which the processes
// of one come and go; what is absent is forgotten in time, and bounded.
func TestRoster(t *testing.T) {
	r, now := newRoster(), time.Now()
	see := func(instance, id, name string, gone, leaving bool) string {
		e, ok := r.see(sighting{instance: instance, said: announcement{Node: Node{ID: id, Name: name, Role: "worker"}, Leaving: leaving}, gone: gone}, now)
		if !ok {
			return ""
		}
		return string(e.State)
	}
	for i, step := range []struct {
		instance, id  string
		gone, leaving bool
		want          string
	}{
		{"a1", "a", false, false, "alive"},
		{"a1", "a", false, false, ""},
		{"a2", "a", false, false, ""}, // started anew
		{"a1", "a", true, false, ""},  // its old process is missed
		{"b1", "b", false, false, ""}, // the same name, after a reset of its identity
		{"a2", "a", true, false, ""},
		{"b1", "b", true, false, "failed"},
		{"b1", "b", true, false, ""},
		{"b2", "b", false, false, "alive"},
		{"b2", "b", false, true, ""}, // it says that it will leave
		{"b2", "b", true, false, "left"},
		{"zz", "z", true, false, ""}, // never seen
	} {
		if got := see(step.instance, step.id, "w", step.gone, step.leaving); got != step.want {
			t.Errorf("step %d %+v: %q", i, step, got)
		}
	}
	if l := r.list(); len(l) != 1 || l[0].State != entropy.MemberLeft || l[0].Instance != "b2" {
		t.Errorf("list %+v", l)
	}
	for i := range absentKept + 100 {
		now = now.Add(time.Second)
		name := fmt.Sprint(i)
		see(name, name, name, false, false)
		see(name, name, name, true, false)
	}
	if n := len(r.list()); n > absentKept {
		t.Errorf("%d absent members are kept", n)
	}
	now = now.Add(absentFor + time.Second)
	see("last", "last", "last", false, false)
	if n := len(r.list()); n != 1 {
		t.Errorf("%d members are listed a day later", n)
	}
}
