package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// check is one finding of the network check.
type check struct {
	Subject string `json:"subject"`
	OK      bool   `json:"ok"`
	Finding string `json:"finding"`
	Advice  string `json:"advice,omitempty"` // what to do; "" when all is well
}

const netCheckLong = `Compare what the control plane knows by heartbeats with what it knows by gossip,
and say in words what is wrong between the nodes, and what to do about it.

It finds nodes whose gossip is blocked, for UDP or altogether, or that advertise an
address at which they cannot be reached; names that two nodes have; workers that were
refused of late; nodes of another version; and a clock of this machine that is off.
Without gossip work goes on: leases alone tell then when a worker is lost. It exits 1
when something should be done.`

func (a *app) netCommand() *cobra.Command {
	c := &cobra.Command{Use: "check", Short: "Say what is wrong between the nodes, and what to do", Long: netCheckLong, Args: argument(0, 0, "")}
	a.command(c, a.netCheck)
	return a.group(&cobra.Command{Use: "net", Short: "Look at the network between the nodes"}, c)
}

func (a *app) netCheck(ctx context.Context, _ []string) error {
	service, err := a.connect()
	if err != nil {
		return err
	}
	status, err := service.Status(ctx)
	if err != nil {
		return err
	}
	workers, err := service.Workers(ctx)
	if err != nil {
		return err
	}
	asked := a.now()
	known, err := membersOf(ctx, service)
	if err != nil {
		return err
	}
	checks := append(checkClock(known.Now, asked, a.now().Sub(asked)), checkMembers(workers, known.Members, known.Now)...)
	checks = append(checks, checkNames(known.Members)...)
	checks = append(checks, checkRefused(refusals(ctx, service), known.Now)...)
	checks = append(checks, checkVersions(status.Version, workers)...)
	if err := list(a, checks, checkTable); err != nil {
		return err
	}
	for _, c := range checks {
		if !c.OK {
			return outcome{code: exitError}
		}
	}
	return nil
}

func checkTable(checks []check) *table {
	t := new(table)
	t.row("", "SUBJECT", "FINDING")
	for _, c := range checks {
		mark := "ok"
		if !c.OK {
			mark = "!!"
		}
		t.row(mark, c.Subject, c.Finding)
		if c.Advice != "" {
			t.row("", "", "-> "+c.Advice)
		}
	}
	return t
}

// clockSlack is how far two clocks may be apart before a person should know.
const clockSlack = 2 * time.Second

// checkClock compares this machine's clock with the control plane's, which was
// read somewhere within the call.
func checkClock(theirs, asked time.Time, took time.Duration) []check {
	off := asked.Add(took / 2).Sub(theirs)
	if off.Abs() <= clockSlack+took/2 {
		return []check{{"clock", true, fmt.Sprintf("this machine agrees with the control plane; a call takes %s", took.Round(100*time.Microsecond)), ""}}
	}
	return []check{{"clock", false, fmt.Sprintf("this machine's clock is %s off the control plane's", off.Round(time.Second)),
		"set both clocks: timedatectl set-ntp true; a worker more than two minutes off is not answered when it looks for its control plane"}}
}

// checkMembers compares heartbeats with gossip, worker by worker.
func checkMembers(workers []entropy.WorkerInfo, members []entropy.Member, now time.Time) []check {
	if len(members) == 0 {
		return []check{{"gossip", true, "the control plane takes no part in gossip: leases alone tell when a worker is lost", ""}}
	}
	var out []check
	for _, w := range workers {
		if w.State == entropy.WorkerAlive {
			out = append(out, checkMember(w, members, now))
		}
	}
	return out
}

// checkMember says what gossip knows of a worker whose heartbeats arrive.
func checkMember(w entropy.WorkerInfo, members []entropy.Member, now time.Time) check {
	m, control := newest(members, string(w.ID)), members[0] // control planes come first
	_, port, _ := net.SplitHostPort(control.Address)
	subject := "worker " + string(w.ID)
	switch {
	case m == nil && w.BootID != "" && w.BootID == control.BootID:
		return check{subject, true, "on the control plane's own machine, and no member of gossip: it needs none", ""}
	case m == nil:
		return check{subject, false, "its heartbeats arrive, and gossip has never heard of it",
			"a firewall is in the way: open port " + port + " of " + control.Address + " for TCP and UDP from " + dash(printable(w.Hostname)) + ", unless it was started with --no-gossip"}
	case m.State == entropy.MemberAlive && m.RTT == 0 && now.Sub(m.Since) > probedWithin(len(members)):
		return check{subject, false, "a member at " + m.Address + ", but by TCP only: UDP is blocked",
			"open that port for UDP, both ways, on " + dash(printable(w.Hostname)) + " and on the way; until then gossip is slow to tell who is dead"}
	case m.State == entropy.MemberAlive && m.RTT == 0:
		return check{subject, true, "a member at " + m.Address + "; no direct probe was answered yet", ""}
	case m.State == entropy.MemberAlive:
		return check{subject, true, "a member at " + m.Address + ", " + m.RTT.D().Round(10*time.Microsecond).String() + " away", ""}
	}
	out := check{subject, false, "its heartbeats arrive, but gossip calls it " + string(m.State) + " at " + m.Address, ""}
	if alone(m, members) {
		out.Advice = "nobody else is on that network: it is behind NAT, or the address is wrong; start it with --advertise and the address that others reach, or behind NAT with --no-gossip"
	} else {
		out.Advice = "others are on that network, so a firewall is in the way: open that port for UDP and TCP on " + dash(printable(w.Hostname)) + "; or the address is wrong: --advertise"
	}
	return out
}

// probedWithin is how long it may take until a member has answered a direct probe:
// a node probes another one each interval, of 5 s at the most, in turn.
func probedWithin(members int) time.Duration {
	return 20*time.Second + time.Duration(members)*5*time.Second
}

// alone reports whether no living member is on the network of another's address, as
// far as addresses can tell: the same /24, or /64 of IPv6.
func alone(m *entropy.Member, members []entropy.Member) bool {
	network := func(address string) netip.Prefix {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return netip.Prefix{}
		}
		bits := 64
		if at.Addr().Unmap().Is4() {
			bits = 24
		}
		p, _ := at.Addr().Unmap().Prefix(bits) // it has so many
		return p
	}
	return !slices.ContainsFunc(members, func(x entropy.Member) bool {
		return x.State == entropy.MemberAlive && network(x.Address) == network(m.Address)
	})
}

// newest returns the member of a worker's name that is alive, else that changed last.
func newest(members []entropy.Member, name string) *entropy.Member {
	var found *entropy.Member
	for i := range members {
		m := &members[i]
		if m.Role != "worker" || m.Name != name {
			continue
		}
		if found == nil || found.State != entropy.MemberAlive && (m.State == entropy.MemberAlive || m.Since.After(found.Since)) {
			found = m
		}
	}
	return found
}

// checkNames finds names, and data directories, that two living nodes share.
func checkNames(members []entropy.Member) []check {
	names, ids := map[string][]string{}, map[string][]string{}
	for _, m := range members {
		if m.State == entropy.MemberAlive && m.Role == "worker" {
			names[m.Name] = append(names[m.Name], m.Address)
			ids[m.NodeID] = append(ids[m.NodeID], m.Address)
		}
	}
	var out []check
	for _, id := range sortedKeys(ids) {
		if at := ids[id]; len(at) > 1 {
			out = append(out, check{"identity", false, "one worker's identity is used at " + strings.Join(at, " and "),
				"one disk is a copy of the other: run entropy worker reset-identity on the copy, and join it under a name of its own"})
		}
	}
	for _, name := range sortedKeys(names) {
		if at := names[name]; len(at) > 1 && len(out) == 0 {
			out = append(out, check{"name " + name, false, "it is used by the workers at " + strings.Join(at, " and "), "start one of them with another --name"})
		}
	}
	return out
}

// tokenView is what an admin may ask a control plane about those who join.
type tokenView interface {
	Tokens(ctx context.Context) ([]entropy.TokenInfo, error)
}

// refusedOf bounds whose refusals are asked for: those of the newest join tokens.
const refusedOf = 20

// refusals returns the events of workers that were refused; none for who is no admin.
func refusals(ctx context.Context, service entropy.Service) []entropy.Event {
	view, ok := service.(tokenView)
	if !ok {
		return nil
	}
	tokens, err := view.Tokens(ctx)
	if err != nil {
		return nil
	}
	tokens = slices.DeleteFunc(tokens, func(t entropy.TokenInfo) bool { return t.Role != entropy.RoleJoin })
	var all []entropy.Event
	for _, t := range tokens[max(0, len(tokens)-refusedOf):] {
		page, err := service.Events(ctx, entropy.EventFilter{Entity: "token:" + t.ID, Type: entropy.TokenRefused})
		if err == nil {
			all = append(all, page.Events...)
		}
	}
	return all
}

// refusedLately is how long ago a refusal is still worth a word: who is refused tries
// again, so what was mended is soon silent.
const refusedLately = 15 * time.Minute

// checkRefused names the workers that were refused of late, each once, with the last reason.
func checkRefused(events []entropy.Event, now time.Time) []check {
	last := map[string]check{}
	for _, e := range events {
		var use entropy.TokenUse
		if json.Unmarshal(e.Attrs, &use) != nil || now.Sub(e.TS) > refusedLately {
			continue
		}
		name := printable(string(use.Worker))
		last[name] = check{"join " + name, false, "a worker of that name was refused " + age(&e.TS, now) + " ago: " + printable(use.Reason),
			"the log of that worker says what to do: another --name where two have one, a new token where it is used up"}
	}
	var out []check
	for _, name := range sortedKeys(last) {
		out = append(out, last[name])
	}
	return out
}

// checkVersions finds workers that run another version than the control plane.
func checkVersions(version string, workers []entropy.WorkerInfo) []check {
	var out []check
	for _, w := range workers {
		if w.State == entropy.WorkerAlive && w.AgentVersion != version {
			out = append(out, check{"worker " + string(w.ID), false, "it runs version " + dash(printable(w.AgentVersion)) + ", the control plane " + dash(version),
				"upgrade the older of the two; a worker's agent may be replaced while its jobs run"})
		}
	}
	return out
}
