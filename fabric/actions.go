package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/actors/action"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/persistence/outbox"
)

// orders issues what is to be carried out over the bus. It implements
// [action.Orders].
type orders struct{ bus *bus.Bus }

// orders returns who issues orders; nil when there is no bus.
func (c *Control) orders() action.Orders {
	if c.bus == nil {
		return nil
	}
	return orders{c.bus}
}

// orderKept is how long an order stays on the bus after nobody may begin it any
// more: its executors then need not hear that it is too late.
const orderKept = time.Minute

// Issue implements [action.Orders]. The attempt's ID names the message, so that one
// that is issued again while it is there is not stored twice.
func (o orders) Issue(ctx context.Context, order entropy.ActionOrder, envelope entropy.Event) error {
	if err := o.bus.EnsureCommand(ctx, order.Command); err != nil {
		return err
	}
	data, err := json.Marshal(&envelope)
	if err != nil {
		return fmt.Errorf("encode the order of action %s: %w", order.ActionID, err)
	}
	return o.bus.PublishMessage(ctx, bus.Message{Subject: bus.SubjectRequested + "." + order.Command, ID: string(order.AttemptID), Data: data,
		TTL: time.Duration(order.RemainingMS)*time.Millisecond + orderKept})
}

// reissue has the facts checked, and the orders issued again that nobody has
// accepted: the bus has lost some, or its store was wiped.
func (c *Control) reissue() {
	c.eachRelay((*outbox.Relay).Audit)
	if s := c.running.Load(); s != nil {
		if err := s.ReissueActions(); err != nil {
			c.cfg.Logger.Warn("issue orders again", "error", err)
		}
	}
}

// The names of the control plane's consumers, in its streams.
const (
	controlDurable = "control"
	inboxDurable   = "inbox"
)

// reporters is how many requests and reports are judged at once: each waits for a commit, and a
// commit takes all that wait.
const reporters = 64

// runActions takes requests and reports off the bus until ctx ends, and carries out
// the commands that the control plane executes itself.
func (c *Control) runActions(ctx context.Context) {
	if c.bus == nil {
		return
	}
	var working sync.WaitGroup
	defer working.Wait()
	consume := func(stream, durable string, h bus.Handler, options ...bus.ConsumeOption) {
		working.Go(func() {
			if err := c.bus.Consume(ctx, stream, durable, "", h, options...); err != nil {
				c.cfg.Logger.Error("consume from the bus", "stream", stream, "error", err)
			}
		})
	}
	consume(bus.StreamRequested, controlDurable, c.takeRequest, bus.Parallel(reporters, requestKey))
	byAction := bus.Parallel(reporters, reportKey)
	consume(bus.StreamReportsProgress, controlDurable, c.takeReport, byAction)
	consume(bus.StreamReportsResult, controlDurable, c.takeReport, byAction)
	consume(bus.StreamEventsIn, inboxDurable, c.takeEvent)
	working.Go(func() { c.execute(ctx) })
}

// requestKey keeps the requests of one entity in order. One of no entity has none.
func requestKey(m *bus.Message) string {
	var e struct {
		EntityID string `json:"entity_id"`
	}
	if json.Unmarshal(m.Data, &e) != nil || e.EntityID == "" {
		return strconv.FormatUint(m.Seq, 10)
	}
	return e.EntityID
}

// reportKey keeps the reports of one action in order. It notes the envelope, if it is
// one, so that it is read once.
func reportKey(m *bus.Message) string {
	e := new(entropy.Event)
	if json.Unmarshal(m.Data, e) != nil {
		return "" // what is no report has no order
	}
	m.Note = e
	var attrs struct {
		ActionID string `json:"action_id"`
	}
	_ = json.Unmarshal(e.Attrs, &attrs)
	return attrs.ActionID
}

// takeRequest records what a producer asks for.
func (c *Control) takeRequest(ctx context.Context, m bus.Message) bus.Disposition {
	ctx = entropy.WithPrincipal(ctx, entropy.Principal{Role: entropy.RoleProducer, Name: "bus"})
	if err := c.system.TakeActionRequest(ctx, m.Subject, entropy.ActionRequest{Envelope: m.Data, StoredAt: m.Stored}); err != nil {
		return unless(err)
	}
	return bus.Ack()
}

// bury has the journal keep what the bus gives up, beside the other dead letters.
func (c *Control) bury(ctx context.Context, d bus.DeadLetter) error {
	s := c.running.Load()
	if s == nil {
		return entropy.Errorf(entropy.CodeUnavailable, "the control plane is starting")
	}
	err := s.TakeDeadLetter(ctx, d.Subject, d.Data, d.Reason)
	if errors.Is(err, actors.ErrDeadLettersFull) { // rubbish without end must not stop what is good
		d.Reason += "; it is on " + bus.SubjectDeadLetter + " only: " + err.Error()
		return c.bus.PublishDeadLetter(ctx, d)
	}
	return err
}

// unless says what becomes of a message that could not be taken: it comes again,
// unless it is one that nobody will ever understand, and there is no room for it.
func unless(err error) bus.Disposition {
	if errors.Is(err, actors.ErrDeadLettersFull) {
		return bus.Dead("it could not be understood")
	}
	return bus.Later(0)
}

// takeReport judges what an executor says, and answers it.
func (c *Control) takeReport(ctx context.Context, m bus.Message) bus.Disposition {
	executor := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	read, _ := m.Note.(*entropy.Event)
	v, err := c.system.TakeActionReport(ctx, m.Subject, executor, m.Data, read)
	if err != nil {
		return unless(err)
	}
	if v == nil {
		return bus.Ack()
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = c.bus.Tell(bus.SubjectVerdict+"."+executor, data)
	}
	if err != nil { // it repeats what it was not answered
		c.cfg.Logger.Debug("answer an executor", "executor", executor, "error", err)
	}
	return bus.Ack()
}

// takeEvent takes an event from outside into the ledger.
func (c *Control) takeEvent(ctx context.Context, m bus.Message) bus.Disposition {
	if _, err := c.inbox.Take(ctx, "nats:"+m.Subject, []json.RawMessage{m.Data}); err != nil {
		return bus.Later(0)
	}
	return bus.Ack()
}
