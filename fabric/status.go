package fabric

import (
	"cmp"
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// statusTimeout bounds how long the status waits for the bus: it is most asked for
// when something is wrong.
const statusTimeout = 2 * time.Second

// lateAfter is how long a sink may be behind before it is an alarm. While the journal
// is busy, being late by [relayMayLag] is meant.
const lateAfter = 2 * relayMayLag

// service is the fabric, with what only the wiring sees in its status: the bus, the
// outbox and the ledger.
type service struct {
	*actors.System
	control *Control
}

// Status implements [entropy.Service].
func (s service) Status(ctx context.Context) (entropy.Status, error) {
	st, err := s.System.Status(ctx)
	if err != nil {
		return st, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	c := s.control
	if st.DeadItems, err = c.ledger.CountDead(ctx); err != nil {
		st.Alarms = append(st.Alarms, "the ledger cannot be read: "+err.Error())
	}
	for _, r := range c.Outbox() {
		st.Relays = append(st.Relays, entropy.RelayStatus{Sink: r.Name, Lag: r.Lag, LagSeconds: r.LagFor.Seconds(), Problem: r.Problem})
		if r.LagFor > lateAfter {
			st.Alarms = append(st.Alarms, "the "+r.Name+" is "+r.LagFor.Round(time.Second).String()+" behind the journal: "+cmp.Or(r.Problem, "there is more than it can take"))
		}
	}
	if c.bus != nil {
		st.Bus = c.busStatus(ctx)
		if st.Bus.Problem != "" {
			st.Alarms = append(st.Alarms, "the bus: "+st.Bus.Problem)
		}
	}
	return st, nil
}

// busStatus gives the bus's status in the fabric's words.
func (c *Control) busStatus(ctx context.Context) *entropy.BusStatus {
	b := c.bus.Status(ctx)
	st := &entropy.BusStatus{Embedded: b.Embedded, Address: b.Address, Version: b.Version, Connected: b.Connected, Since: b.Since, Problem: b.Problem,
		Bytes: b.Bytes, MaxBytes: b.MaxBytes, Streams: []entropy.StreamStatus{}}
	for _, s := range b.Streams {
		st.Streams = append(st.Streams, entropy.StreamStatus{Name: s.Name, Messages: s.Messages, Bytes: s.Bytes, MaxBytes: s.MaxBytes, Replicas: s.Replicas, Rebuilding: s.Rebuilding})
	}
	return st
}
