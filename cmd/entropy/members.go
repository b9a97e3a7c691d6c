package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// fabricView is what the commands about the network ask a control plane beside the Service.
type fabricView interface {
	Members(ctx context.Context) (entropy.MemberList, error)
}

func (a *app) membersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "members",
		Short: "List the nodes that the control plane knows by gossip",
		Args:  argument(0, 0, ""),
	}
	c.AddCommand(a.rotateKeyCommand())
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		known, err := membersOf(ctx, service)
		if err != nil {
			return err
		}
		now := a.now()
		return list(a, known.Members, func(ms []entropy.Member) *table { return memberTable(ms, now) })
	})
}

func membersOf(ctx context.Context, service entropy.Service) (entropy.MemberList, error) {
	view, ok := service.(fabricView)
	if !ok {
		return entropy.MemberList{}, entropy.Errorf(entropy.CodeUnavailable, "this control plane cannot be asked for its members").WithHint("upgrade it")
	}
	return view.Members(ctx)
}

func memberTable(members []entropy.Member, now time.Time) *table {
	t := new(table)
	t.row("NAME", "ROLE", "STATE", "ADDRESS", "RTT", "SINCE", "VERSION")
	for i := range members {
		m := &members[i]
		rtt := "-"
		switch {
		case m.Self:
			rtt = "self"
		case m.RTT > 0:
			rtt = m.RTT.D().Round(10 * time.Microsecond).String()
		}
		t.row(printable(dash(m.Name)), printable(m.Role), string(m.State), m.Address, rtt, age(&m.Since, now)+" ago", printable(dash(m.Version)))
	}
	return t
}
