package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const actionsLong = `Ask for actions and follow them. An action is a wish that is carried out once, by one
executor of its command; each change of it is an event. docs/ACTIONS.md has the whole.`

func (a *app) actionsCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "actions", Short: "Ask for actions and follow them", Long: actionsLong},
		a.actionsListCommand(), a.actionsShowCommand(), a.actionsRequestCommand(), a.actionsWatchCommand(),
		a.actionVerbCommand("approve ID", "Approve an action that somebody else asked for", entropy.ActionApprove),
		a.actionVerbCommand("reject ID", "Refuse an action that waits for approval", entropy.ActionReject),
		a.actionVerbCommand("cancel ID", "Ask that an action end", entropy.ActionCancel))
}

func actionIDOf(s string) (entropy.ActionID, error) {
	return entropy.ActionID(s), entropy.ValidateID("action id", s)
}

func (a *app) actionsListCommand() *cobra.Command {
	var f entropy.ActionFilter
	var states []string
	c := &cobra.Command{Use: "ls", Short: "List actions, the newest first", Args: argument(0, 0, ""),
		Example: "  entropy actions ls --state awaiting_approval\n  entropy actions ls --command restart_job -o json"}
	s := c.Flags()
	s.StringSliceVar(&states, "state", nil, "only those in this `STATE`, or these")
	s.StringVar(&f.Command, "command", "", "only those of this `COMMAND`")
	s.StringVar(&f.Tenant, "tenant", "", "only those of this `TENANT`")
	s.StringVar(&f.Target, "entity", "", "only those that act on this `ENTITY`, as in job:abc123")
	s.IntVar(&f.Limit, "limit", 100, "at most this many, up to 1000")
	s.StringVar(&f.Cursor, "cursor", "", "go on after the page that ended with this `CURSOR`")
	return a.command(c, func(ctx context.Context, _ []string) error {
		for _, word := range states {
			state, err := entropy.ParseActionState(word)
			if err != nil {
				return err
			}
			f.States = append(f.States, state)
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		page, err := service.Actions(ctx, f)
		if err != nil {
			return err
		}
		if page.Next != "" {
			a.notef("there are more: --cursor %s", printable(page.Next))
		}
		now := a.now()
		return list(a, page.Actions, func(all []*entropy.Action) *table {
			t := new(table)
			t.row("ID", "COMMAND", "STATE", "ENTITY", "TENANT", "ATTEMPT", "AGE", "EXECUTOR", "MESSAGE")
			for _, x := range all {
				attempt, executor := "-", "-"
				if n := len(x.Attempts); n > 0 {
					attempt, executor = itoa(x.Attempts[n-1].Number), dash(x.Attempts[n-1].Executor)
				}
				t.row(string(x.ID), x.Spec.Command, actionState(x), dash(x.Target), dash(x.Tenant), attempt, age(&x.CreatedAt, now), executor, shorten(printable(dash(x.Message)), 60))
			}
			return t
		})
	})
}

func actionState(x *entropy.Action) string {
	s := string(x.State) + inBrackets(string(x.Reason))
	if x.CancelRequested && !x.State.Terminal() {
		s += ", cancel requested"
	}
	return s
}

func (a *app) actionsShowCommand() *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show one action: its attempts, its end, its result", Args: argument(1, 1, "an action's ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := actionIDOf(args[0])
		if err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		info, err := service.Action(ctx, id)
		if err != nil {
			return err
		}
		return a.showAction(&info)
	})
}

func (a *app) showAction(info *entropy.ActionInfo) error {
	return a.one(info, func() error {
		if err := actionTable(info).write(a.stdout); err != nil || len(info.Attempts) == 0 {
			return err
		}
		t := new(table)
		t.row("ATTEMPT", "EXECUTOR", "OUTCOME", "ISSUED", "STARTED", "ENDED", "ERROR")
		for i := range info.Attempts {
			x := &info.Attempts[i]
			outcome := dash(string(x.Outcome))
			if x.Late {
				outcome += ", late"
			}
			t.row(itoa(x.Number), dash(x.Executor), outcome, stamp(&x.IssuedAt), stamp(x.StartedAt), stamp(x.EndedAt), dash(strings.TrimSpace(x.Kind+" "+x.Error)))
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
		return t.write(a.stdout)
	})
}

func actionTable(x *entropy.ActionInfo) *table {
	t := new(table)
	t.row("ID", string(x.ID))
	t.row("State", actionState(&x.Action))
	t.row("Command", x.Spec.Command)
	optional := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	optional("Args", string(x.Spec.Args))
	optional("Message", x.Message)
	if p := x.Progress; p != nil {
		t.row("Progress", progressWords(p))
	}
	optional("Entity", x.Target)
	optional("Tenant", x.Tenant)
	optional("Correlation", x.CorrelationID)
	optional("Cause", x.CausationID)
	optional("Compensates", string(x.Compensates))
	t.row("Asked", stamp(&x.CreatedAt)+" by "+dash(x.Principal))
	optional("Approver", x.Approver)
	t.row("Deadline", stamp(&x.Deadline))
	if x.RetryAt != nil {
		t.row("Retry at", stamp(x.RetryAt))
	}
	if x.FinishedAt != nil {
		t.row("Finished", stamp(x.FinishedAt))
	}
	optional("Result", string(x.Result))
	return t
}

func progressWords(p *entropy.ActionProgress) string {
	var words []string
	if p.Percent != nil {
		words = append(words, weight(*p.Percent)+" %")
	}
	if p.Message != "" {
		words = append(words, p.Message)
	}
	return dash(strings.Join(words, " "))
}

// requestFlags are the flags of actions request.
type requestFlags struct {
	file                                          string
	id, key, entity, tenant, priority, corr, args string
	arg                                           []string
	ttl, timeout, heartbeat                       time.Duration
	tries                                         int
	dryRun, approval, wait                        bool
	waitTimeout                                   time.Duration
}

const requestLong = `Ask for an action and print its ID. It is carried out by an executor of COMMAND.

With -f the envelope is read from a file, or from standard input for "-", and sent
as it is; see docs/ACTIONS.md. The same --id, or the same --idempotency-key of a
tenant, always means the same action.

With --wait: exit code 0 when it succeeded, 7 when it failed or was canceled, 8 when
the timeout was reached first.`

func (a *app) actionsRequestCommand() *cobra.Command {
	var f requestFlags
	c := &cobra.Command{Use: "request COMMAND | -f FILE", Short: "Ask for an action and print its ID", Long: requestLong, Args: argument(0, 1, "a command"),
		Example: `  entropy actions request restart_job --arg job_id=abc123 --entity job:abc123 --wait
  entropy actions request deploy --args '{"version": 7}' --dry-run
  entropy actions request -f envelope.json`}
	s := c.Flags()
	s.StringVarP(&f.file, "file", "f", "", "the envelope's `FILE`, - for standard input")
	s.StringVar(&f.id, "id", "", "the action's `ID` (default: made)")
	s.StringVar(&f.key, "idempotency-key", "", "a `KEY` that names what is to be done once")
	s.StringVar(&f.entity, "entity", "", "the `ENTITY` it acts on, as in job:abc123: actions of one are carried out in order")
	s.StringVar(&f.tenant, "tenant", "", "for whom")
	s.StringVar(&f.priority, "priority", "", "low, normal, high or a number")
	s.StringVar(&f.corr, "correlation-id", "", "what it belongs to")
	s.StringVar(&f.args, "args", "", "the arguments, a `JSON` object")
	s.StringArrayVar(&f.arg, "arg", nil, "one argument, `KEY=VALUE`, as text; may be repeated")
	s.DurationVar(&f.ttl, "ttl", 0, "how long it may wait to be taken (default 10m)")
	s.DurationVar(&f.timeout, "timeout", 0, "how long an attempt may take (default: the TTL)")
	s.DurationVar(&f.heartbeat, "heartbeat", 0, "how long its executor may be silent (default: no limit)")
	s.IntVar(&f.tries, "max-attempts", 0, "attempts in all (default 1)")
	s.BoolVar(&f.dryRun, "dry-run", false, "have the executor say what it would do")
	s.BoolVar(&f.approval, "approval", false, "let somebody else approve it first")
	s.BoolVar(&f.wait, "wait", false, "wait for its end and show it")
	s.DurationVar(&f.waitTimeout, "wait-timeout", 0, "`LIMIT` after which to exit with 8 (default: none)")
	return a.command(c, func(ctx context.Context, args []string) error {
		envelope, err := f.envelope(a, args)
		if err != nil {
			return err
		}
		return a.requestAction(ctx, envelope, &f)
	})
}

// envelope makes the request, or reads it.
func (f *requestFlags) envelope(a *app, args []string) (json.RawMessage, error) {
	if f.file != "" {
		if len(args) > 0 {
			return nil, usagef("a command and -f exclude each other")
		}
		return readEnvelope(a, f.file)
	}
	if len(args) == 0 {
		return nil, usagef("the command is missing").WithHint("name it, as in entropy actions request restart_job, or give the envelope with -f")
	}
	if err := notNegative(map[string]time.Duration{"ttl": f.ttl, "timeout": f.timeout, "heartbeat": f.heartbeat, "wait-timeout": f.waitTimeout}); err != nil {
		return nil, err
	}
	spec := entropy.ActionSpec{Command: args[0], TTL: seconds(f.ttl), Timeout: seconds(f.timeout), Heartbeat: seconds(f.heartbeat),
		Retry: entropy.ActionRetry{Max: f.tries}, DryRun: f.dryRun, Approval: f.approval}
	var err error
	if spec.Args, err = f.arguments(); err != nil {
		return nil, err
	}
	attrs, err := json.Marshal(&spec)
	if err != nil {
		return nil, err
	}
	if f.id == "" && f.key == "" {
		f.id = entropy.NewID()
	}
	tags := map[string]string{"action": spec.Command}
	if f.tenant != "" {
		tags["tenant"] = f.tenant
	}
	if f.priority != "" {
		tags["priority"] = f.priority
	}
	return json.Marshal(entropy.Event{ID: f.id, TS: a.now().UTC(), Type: entropy.ActionRequestedType, EntityID: f.entity, CorrelationID: f.corr,
		IdempotencyKey: f.key, Source: entropy.Source{System: "cli"}, Tags: tags, Attrs: attrs})
}

// seconds rounds up: what is given as less than a second is not nothing.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// arguments joins --args and --arg into one object.
func (f *requestFlags) arguments() (json.RawMessage, error) {
	if f.args == "" && len(f.arg) == 0 {
		return nil, nil
	}
	all := make(map[string]any)
	if f.args != "" {
		if err := json.Unmarshal([]byte(f.args), &all); err != nil {
			return nil, usagef("--args is not a JSON object: %v", err)
		}
	}
	for _, kv := range f.arg {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usagef("--arg %q is not KEY=VALUE", kv)
		}
		all[k] = v
	}
	return json.Marshal(all)
}

// readEnvelope reads an envelope, and gives it an ID when it has none: the CLI
// repeats the request over an outage.
func readEnvelope(a *app, file string) (json.RawMessage, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("the envelope cannot be read: %v", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, entropy.MaxActionSize+1))
	if err != nil {
		return nil, usagef("the envelope cannot be read: %v", err)
	}
	all := make(map[string]json.RawMessage)
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, usagef("%s is not an envelope: %v", file, err).WithHint("docs/ACTIONS.md has an example")
	}
	if all["id"] != nil || all["idempotency_key"] != nil {
		return b, nil
	}
	all["id"] = json.RawMessage(`"` + entropy.NewID() + `"`)
	return json.Marshal(all)
}

func (a *app) requestAction(ctx context.Context, envelope json.RawMessage, f *requestFlags) error {
	service, err := a.connect()
	if err != nil {
		return err
	}
	var result entropy.ActionResult
	err = (&patience{a: a, limit: sendPatience}).do(ctx, func() (err error) {
		result, err = service.RequestAction(ctx, entropy.ActionRequest{Envelope: envelope})
		return err
	})
	if err != nil {
		return err
	}
	if result.Duplicate {
		a.notef("it was asked for before, and is %s", actionState(&result.Action.Action))
	}
	if !f.wait {
		return a.one(result, func() error { return a.printf("%s\n", result.Action.ID) })
	}
	return a.awaitAction(ctx, service, result.Action.ID, f.waitTimeout)
}

// awaitAction waits for the end of an action and shows it.
func (a *app) awaitAction(ctx context.Context, service entropy.Service, id entropy.ActionID, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	p := &patience{a: a, limit: watchPatience}
	for {
		wait := entropy.MaxWait
		if limit > 0 {
			wait = min(wait, max(time.Until(deadline), 0))
		}
		info, err := service.WaitAction(ctx, id, wait)
		switch {
		case err != nil:
			if err := p.failed(ctx, err); err != nil {
				return err
			}
			continue
		case !info.State.Terminal() && limit > 0 && !time.Now().Before(deadline):
			return outcome{exitTimedOut, "action " + string(id) + " is still " + string(info.State)}
		case !info.State.Terminal():
			p.ok()
			continue
		}
		if err := a.showAction(&info); err != nil {
			return err
		}
		return actionOutcome(&info)
	}
}

// actionOutcome is the exit code of an action that has ended.
func actionOutcome(info *entropy.ActionInfo) error {
	if info.State == entropy.ActionSucceeded {
		return nil
	}
	return outcome{exitJobFailed, "action " + string(info.ID) + " " + actionState(&info.Action)}
}

func (a *app) actionVerbCommand(use, short string, verb entropy.ActionVerb) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: use, Short: short, Args: argument(1, 1, "an action's ID")}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := actionIDOf(args[0])
		if err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		var info entropy.ActionInfo
		err = (&patience{a: a, limit: sendPatience}).do(ctx, func() (err error) {
			info, err = service.SetAction(ctx, id, verb, op)
			return err
		})
		if err != nil {
			return err
		}
		return a.one(info, func() error { return a.printf("%s  %s\n", info.ID, actionState(&info.Action)) })
	})
}
