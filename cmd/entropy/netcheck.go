package main

import (
	"context"
	"fmt"
	"net"
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

It finds nodes whose gossip is blocked or that advertise an address at which they
cannot be reached, names that two nodes have, nodes of another version, and a clock
of this machine that is off. Nothing of it stops work: without gossip, leases alone
tell when a worker is lost. It exits 1 when something should be done.`

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
	checks := append(checkClock(known.Now, asked, a.now().Sub(asked)), checkMembers(workers, known.Members)...)
	checks = append(checks, checkNames(known.Members)...)
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
		return []check{{"clock", true, fmt.Sprintf("this machine agrees with the control plane; a call takes %s", took.Round(time.Millisecond)), ""}}
	}
	return []check{{"clock", false, fmt.Sprintf("this machine's clock is %s off the control plane's", off.Round(time.Second)),
		"set both clocks: timedatectl set-ntp true; a worker more than two minutes off is not answered when it looks for its control plane"}}
}

// checkMembers compares heartbeats with gossip, worker by worker.
func checkMembers(workers []entropy.WorkerInfo, members []entropy.Member) []check {
	if len(members) == 0 {
		return []check{{"gossip", true, "the control plane takes no part in gossip: leases alone tell when a worker is lost", ""}}
	}
	_, port, _ := net.SplitHostPort(members[0].Address)
	var out []check
	for _, w := range workers {
		if w.State != entropy.WorkerAlive {
			continue
		}
		m := newest(members, string(w.ID))
		subject := "worker " + string(w.ID)
		switch {
		case m == nil && w.Hostname == members[0].Name:
			out = append(out, check{subject, true, "on the control plane's own host, and no member of gossip: it needs none", ""})
		case m == nil:
			out = append(out, check{subject, false, "its heartbeats arrive, and gossip has never heard of it",
				"open port " + port + " of the control plane for TCP and UDP from " + dash(printable(w.Hostname)) + ", unless it was started with --no-gossip"})
		case m.State == entropy.MemberAlive && m.RTT == 0:
			out = append(out, check{subject, true, "a member at " + m.Address + "; no direct probe was answered yet", ""})
		case m.State == entropy.MemberAlive:
			out = append(out, check{subject, true, "a member at " + m.Address + ", " + m.RTT.D().Round(10*time.Microsecond).String() + " away", ""})
		default:
			out = append(out, check{subject, false, "its heartbeats arrive, but gossip calls it " + string(m.State) + " at " + m.Address,
				"open that address for UDP and TCP; behind NAT, or if the address is wrong, start it with --advertise and the address that others reach, or with --no-gossip"})
		}
	}
	return out
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
