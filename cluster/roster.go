package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Event says that a node came, left or failed: that there is now a living process
// of its role and name, or no longer one. A node that was started again while its
// old process was not yet declared dead causes none: it never went.
type Event struct {
	State  entropy.MemberState
	Member entropy.Member // a copy
}

// sighting is what one callback of memberlist said about one process of a node.
type sighting struct {
	instance string
	said     announcement
	address  string
	gone     bool
	rtt      time.Duration // of a probe; the rest is unchanged then
}

// absentKept bounds how many absent members are remembered, and absentFor how
// long: they are listed, and their addresses are tried again.
const (
	absentKept = 1000
	absentFor  = 24 * time.Hour
)

// roster is the list of members, alive or not, by instance. It is pure: time
// comes as an argument.
type roster struct {
	members map[string]*entropy.Member
	leaving map[string]bool
}

func newRoster() *roster {
	return &roster{members: make(map[string]*entropy.Member), leaving: make(map[string]bool)}
}

// see takes a sighting in and returns the event that it is, if any.
func (r *roster) see(s sighting, now time.Time) (Event, bool) {
	m := r.members[s.instance]
	switch {
	case s.rtt > 0:
		if m != nil {
			m.RTT = entropy.Duration(s.rtt)
		}
		return Event{}, false
	case s.gone && (m == nil || m.State != entropy.MemberAlive):
		return Event{}, false
	case s.gone:
		return r.end(m, s, now)
	}
	known := m != nil && m.State == entropy.MemberAlive
	first := !known && r.alive(s.said.Role, s.said.Name) == 0
	r.members[s.instance] = &entropy.Member{NodeID: s.said.ID, Name: s.said.Name, Role: s.said.Role, State: entropy.MemberAlive, Address: s.address,
		API: s.said.API, Version: s.said.Version, BootID: s.said.BootID, Instance: s.instance, Since: now}
	next := r.members[s.instance]
	if known {
		next.Since, next.RTT = m.Since, m.RTT
	}
	if s.said.Leaving {
		r.leaving[s.instance] = true
	}
	r.forget(s.said.Role, s.said.Name, now)
	return Event{State: entropy.MemberAlive, Member: *next}, first
}

// end records that an instance is gone.
func (r *roster) end(m *entropy.Member, s sighting, now time.Time) (Event, bool) {
	m.State, m.Since, m.RTT = entropy.MemberFailed, now, 0
	if r.leaving[s.instance] || s.said.Leaving {
		m.State = entropy.MemberLeft
	}
	delete(r.leaving, s.instance)
	e := Event{State: m.State, Member: *m}
	others := r.alive(m.Role, m.Name)
	r.forget(m.Role, m.Name, now)
	return e, others == 0
}

// alive counts the living instances of a name. Two are a node started anew whose
// old process is not yet missed, or two machines with one name or one cloned disk.
func (r *roster) alive(role, name string) int {
	n := 0
	for _, m := range r.members {
		if m.Role == role && m.Name == name && m.State == entropy.MemberAlive {
			n++
		}
	}
	return n
}

// forget drops the absent instances that a living one of the name replaces, and
// the oldest of the absent when there are too many.
func (r *roster) forget(role, name string, now time.Time) {
	living := r.alive(role, name) > 0
	var absent []*entropy.Member
	for id, m := range r.members {
		switch {
		case m.State == entropy.MemberAlive:
		case living && m.Role == role && m.Name == name, now.Sub(m.Since) > absentFor:
			delete(r.members, id)
		default:
			absent = append(absent, m)
		}
	}
	if over := len(absent) - absentKept; over > 0 {
		slices.SortFunc(absent, func(a, b *entropy.Member) int { return a.Since.Compare(b.Since) })
		for _, m := range absent[:over] {
			delete(r.members, m.Instance)
		}
	}
}

// list returns copies of the members: control planes first, then by name.
func (r *roster) list() []entropy.Member {
	all := make([]entropy.Member, 0, len(r.members))
	for _, m := range r.members {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b entropy.Member) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance))
	})
	return all
}
