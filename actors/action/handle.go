package action

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

func (a *Actor) onRequest(c *es.Context, m *Request) (*Outcome, error) {
	changed, err := a.execute(c, m.Operation, func(x *entropy.Action, now time.Time) ([]entropy.Event, error) {
		return m.Asked.Create(x, a.cfg.Rule(m.Asked.Spec.Command), m.Principal, now)
	})
	if err != nil {
		return nil, err
	}
	return &Outcome{Action: a.action, Unchanged: !changed}, nil
}

func (a *Actor) onSet(c *es.Context, m *Set) (*Outcome, error) {
	changed, err := a.execute(c, m.Operation, func(x *entropy.Action, now time.Time) ([]entropy.Event, error) {
		if x == nil {
			return nil, NotFound(a.id)
		}
		return x.Set(m.Verb, m.Principal, m.Op, now)
	})
	if err != nil {
		return nil, err
	}
	return &Outcome{Action: a.action, Unchanged: !changed}, nil
}

// NotFound is the error that there is no action of an ID.
func NotFound(id entropy.ActionID) error {
	return entropy.Errorf(entropy.CodeNotFound, "there is no action %s", id).WithHint("entropy actions ls lists them")
}

func (a *Actor) onReport(c *es.Context, m *Report) (entropy.ActionVerdict, error) {
	v := entropy.ActionVerdict{Report: m.ID, ActionID: m.Report.ActionID, AttemptID: m.Report.AttemptID, Verdict: entropy.ReportRefused, Message: "there is no such action"}
	_, err := a.execute(c, nil, func(x *entropy.Action, now time.Time) (events []entropy.Event, err error) {
		if x == nil {
			return nil, nil
		}
		if !a.cfg.MayExecute(m.Report.Executor, x.Spec.Command) {
			return nil, entropy.Errorf(entropy.CodeForbidden, "the credential of %s is not for the command %s", m.Report.Executor, x.Spec.Command)
		}
		events, v, err = x.Report(m.Type, m.ID, m.Report, now)
		return events, err
	})
	if err != nil {
		return entropy.ActionVerdict{}, err
	}
	if l := a.live(); l != nil && v.Verdict == entropy.ReportAccepted && l.ID == m.Report.AttemptID {
		a.heard = a.cfg.Now()
		if m.Type == entropy.ActionProgressType {
			a.cfg.Progress(a.id, &entropy.ActionProgress{AttemptID: l.ID, Percent: m.Report.Percent, Message: m.Report.Message, At: a.heard})
		}
	}
	return v, nil
}

// onTurn issues the action under a fresh attempt id. When the journal cannot take
// it, the dispatcher gives it another turn.
func (a *Actor) onTurn(c *es.Context) {
	_, err := a.execute(c, nil, func(x *entropy.Action, now time.Time) ([]entropy.Event, error) {
		if x == nil {
			return nil, nil
		}
		return x.Issue(entropy.AttemptID(entropy.NewID()), now)
	})
	if err != nil {
		a.cfg.Logger.Warn("an action's turn is postponed", "action", a.id, "error", err)
	}
}

func (a *Actor) onRevive(c *es.Context) {
	if a.load(c) != nil {
		return
	}
	a.heard = a.cfg.Now()
	a.follow(c)
}

// send hands the order of the live attempt over, outside of the actor's turn.
func (a *Actor) send(c *es.Context) {
	order, envelope, ok := a.action.Order(a.cfg.Now())
	if !ok || a.cfg.Orders == nil {
		return
	}
	a.sending = order.AttemptID
	orders := a.cfg.Orders
	c.Go(func() any {
		ctx, cancel := context.WithTimeout(context.Background(), issueWithin)
		defer cancel()
		return &sent{order.AttemptID, orders.Issue(ctx, order, envelope)}
	})
}

func (a *Actor) onSent(c *es.Context, m *sent) {
	if a.sending != m.attempt {
		return
	}
	wait := unaccepted
	if a.tries++; m.err == nil {
		a.tries = 0
	} else {
		wait = min(issueAgain<<min(a.tries-1, 10), issueMost)
		level := slog.LevelWarn
		if a.tries > 1 { // it was said
			level = slog.LevelDebug
		}
		a.cfg.Logger.Log(context.Background(), level, "an order could not be handed over", "action", a.id, "attempt", m.attempt, "error", m.err)
	}
	if l := a.live(); l != nil && l.ID == m.attempt && l.Executor == "" {
		c.After(wait, resend{m.attempt})
	}
}

// onResend hands an order over again if nobody has accepted it; attempt is "" for
// whichever it is.
func (a *Actor) onResend(c *es.Context, attempt entropy.AttemptID) {
	if a.load(c) != nil {
		return
	}
	if l := a.live(); l != nil && l.Executor == "" && (attempt == "" || attempt == l.ID) {
		a.send(c)
	}
}
