package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/entropy-fabric/entropy"
)

// Handler carries out one attempt. It ends soon after ctx does: because the
// attempt's time is over, because the action was canceled, or because the
// executor stops. What it returns is the action's result, as JSON; an error is a
// failure, see [Retryable] and [Final]. A panic is a failure as well.
type Handler func(ctx context.Context, t *Task) (result any, err error)

// Option says something about a handler.
type Option func(*handler)

// DryRun says that a handler looks at [Task.DryRun] and does nothing when it is
// set. A dry run of another one is refused as unsupported.
func DryRun() Option { return func(h *handler) { h.dryRun = true } }

// Registry is what handlers are given to: an [Executor].
type Registry interface {
	Handle(command string, fn Handler, opts ...Option)
}

type handler struct {
	command string
	run     Handler
	dryRun  bool
}

// Executor carries out the commands that it has handlers for.
type Executor struct {
	conf     Config
	handlers map[string]*handler
	wrong    []error
}

// New makes an executor. What is wrong with conf is said by [Executor.Run].
func New(conf Config) *Executor {
	return &Executor{conf: conf.withDefaults(), handlers: map[string]*handler{}}
}

// Handle sets who carries out a command. All calls come before [Executor.Run],
// which says what was wrong with them.
func (e *Executor) Handle(command string, fn Handler, opts ...Option) {
	h := &handler{command: command, run: fn}
	for _, o := range opts {
		o(h)
	}
	switch err := entropy.ValidateCommand(command); {
	case err != nil:
		e.wrong = append(e.wrong, err)
	case fn == nil:
		e.wrong = append(e.wrong, fmt.Errorf("the command %s has no function", command))
	case e.handlers[command] != nil:
		e.wrong = append(e.wrong, fmt.Errorf("the command %s has two handlers", command))
	default:
		e.handlers[command] = h
	}
}

// Commands returns the commands that have handlers, in order.
func (e *Executor) Commands() []string { return slices.Sorted(maps.Keys(e.handlers)) }

// run is what one call of Run works with.
type run struct {
	*link
	spool *spool
	slots *slots
	log   *slog.Logger

	work context.Context         // of the handlers; outlives Run's own by the grace
	stop context.CancelCauseFunc // ends it
	hand sync.WaitGroup          // of the handlers
	post sync.WaitGroup          // of the results that are not answered

	mu       sync.Mutex
	attempts map[entropy.AttemptID]*attempt
}

// Run carries out orders until ctx ends, and then for at most twice the grace:
// handlers that run may return, and what they returned may be answered. What is
// not answered by then is reported by the next Run on the same spool.
//
// It returns nil when ctx ended. A server that is away is waited for; an error
// means that waiting would not help: what was configured is wrong
// ([entropy.CodeInvalid]), the spool is another process's ([entropy.CodeConflict]),
// or the credential does not allow what has to be published ([entropy.CodeForbidden]).
func (e *Executor) Run(ctx context.Context) error {
	if err := errors.Join(append(e.wrong, e.conf.validate())...); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "executor: %v", err)
	}
	sp, err := openSpool(e.conf.Spool)
	if err != nil {
		return err
	}
	defer sp.close()
	l, err := dial(e.conf)
	if err != nil {
		return err
	}
	defer l.close()
	r := &run{link: l, spool: sp, slots: newSlots(e.conf.Slots), attempts: map[entropy.AttemptID]*attempt{},
		log: e.conf.Logger.With(slog.String("executor", e.conf.Name))}
	r.work, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	defer r.stop(errStopped)

	sub, err := l.nc.Subscribe("actions.verdict."+e.conf.Name, r.verdict)
	if err != nil {
		return fmt.Errorf("subscribe to verdicts: %w", err)
	}
	defer sub.Unsubscribe()
	go l.watch(r.work)
	r.replay()

	pulls, done := context.WithCancel(ctx)
	defer done()
	var pullers sync.WaitGroup
	for _, h := range e.handlers {
		pullers.Go(func() { r.pull(pulls, h) })
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-l.failed:
	}
	done()
	pullers.Wait()
	r.finish(err != nil)
	return err
}

// finish lets handlers return and results be answered. After a failure of the
// link nothing can be answered, so only the handlers are waited for.
func (r *run) finish(broken bool) {
	if !waitFor(&r.hand, r.conf.Grace) {
		r.stop(errStopped)
		if !waitFor(&r.hand, r.conf.Grace) {
			r.log.Error("a handler ignores its context; its attempt will be reported as lost by the next process")
		}
	}
	if !broken && !waitFor(&r.post, r.conf.Grace) {
		r.log.Warn("results were not answered in time; they stay in the spool", slog.Int("attempts", len(r.spool.all())))
	}
}

func waitFor(g *sync.WaitGroup, limit time.Duration) bool {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// verdict hears the control plane. Any verdict may ask that the attempt end.
func (r *run) verdict(msg *nats.Msg) {
	var v entropy.ActionVerdict
	if err := json.Unmarshal(msg.Data, &v); err != nil {
		r.log.Warn("a verdict could not be read", slog.Any("error", err))
		return
	}
	r.judged(v)
	r.mu.Lock()
	a := r.attempts[v.AttemptID]
	r.mu.Unlock()
	if a == nil {
		return
	}
	switch {
	case v.Cancel:
		a.end(errCanceled)
	case v.Verdict == entropy.ReportSuperseded:
		a.end(errSuperseded)
	}
}

// replay reports what an earlier process left: results that were not answered,
// and attempts that it did not end.
func (r *run) replay() {
	for _, rec := range r.spool.all() {
		if rec.Result == nil {
			f := Failure{Err: errors.New("the executor ended while the attempt ran; what it did is not known"), Kind: KindLost}
			rec = &record{Order: rec.Order, Event: rec.Event, Result: r.failed(rec, f, 0)}
			if err := r.spool.put(rec); err != nil {
				r.log.Error("could not write to the spool", slog.Any("error", err))
			}
		}
		r.log.Info("reporting what an earlier process left", slog.String("attempt", string(rec.Order.AttemptID)), slog.String("type", rec.Result.Type))
		r.deliver(rec)
	}
}

// deliver reports a result until it is answered, and then forgets it.
func (r *run) deliver(rec *record) {
	r.post.Go(func() {
		v, err := r.report(r.work, rec.Result)
		if err != nil {
			return // it stays in the spool
		}
		if v.Verdict != entropy.ReportAccepted {
			r.log.Info("a result was not taken", slog.String("attempt", string(rec.Order.AttemptID)),
				slog.String("type", rec.Result.Type), slog.String("verdict", v.Verdict), slog.String("why", v.Message))
		}
		if err := r.spool.forget(rec.Order.AttemptID); err != nil {
			r.log.Error("could not remove an answered result", slog.Any("error", err))
		}
	})
}
