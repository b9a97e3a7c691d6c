package reflex

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/rule"
)

// Ledger is what a [Reflex] needs of the ledger.
type Ledger interface {
	Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error)
	// Record keeps observations in one transaction, each once by its event's ID.
	Record(ctx context.Context, at time.Time, obs []entropy.Observation, dead []entropy.DeadItem) (known []bool, ids []int64, err error)
}

// Config configures a [Reflex]. Ledger and Ask are required.
type Config struct {
	Ledger Ledger
	// Ask asks for an action, once by its ID.
	Ask func(ctx context.Context, r entropy.ActionRequest) (entropy.ActionResult, error)
	// File is the file of rules; "" means the rules that come along. It is read again
	// when it has changed.
	File   string
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

const (
	// Name is that of the rules: of their cursor in the ledger, and of who asks.
	Name = "rules"

	memory  = 28 * 24 * time.Hour // of deviations and actions that are looked at after a restart
	tick    = time.Second
	look    = 5 * time.Second  // between two looks at the file
	tooLate = 15 * time.Minute // after which a row is not decided about any more
)

// mostRows bounds the rows that are looked at after a restart; a test makes it small.
var mostRows = 1_000_000

// Principal is who the rules are when they ask for an action.
var Principal = entropy.Principal{Role: entropy.RoleProducer, Name: Name}

// Reflex applies rules to a ledger.
type Reflex struct {
	cfg Config

	mu       sync.Mutex
	set      *rule.Set
	engine   *rule.Engine
	loaded   time.Time
	problem  string      // why a newer text of the file is not in force
	seen     os.FileInfo // the file as it was last looked at
	row      uint64      // that was applied
	ready    bool        // the ledger was read up to the cursor
	caughtUp bool        // all of it was
	waiting  []rule.Order
	storming bool // said in the log
}

// New returns a reflex with the rules of its file. CodeInvalid when the file is wrong.
func New(cfg Config) (*Reflex, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reflex{cfg: cfg, loaded: cfg.Now().UTC()}
	var err error
	r.set, r.seen, err = Load(cfg.File)
	return r, err
}

// Load reads and checks a file of rules; "" means those that come along.
func Load(file string) (*rule.Set, os.FileInfo, error) {
	if file == "" {
		s, err := rule.Parse(rule.Standard())
		return s, nil, err
	}
	info, err := os.Stat(file)
	if err == nil && info.Size() > rule.MaxFile {
		return nil, info, entropy.Errorf(entropy.CodeTooLarge, "%s: it has %d bytes, a file of rules has at most %d", file, info.Size(), rule.MaxFile)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, info, entropy.Errorf(entropy.CodeInvalid, "rules: %v", err).WithHint("name a file of rules with --rules; without it the rules that come along are in force")
	}
	s, err := rule.Parse(text)
	return s, info, err
}

// Begin reads the ledger up to row, where the follower's cursor is. Rows behind it
// are to be given to Handle.
func (r *Reflex) Begin(ctx context.Context, row uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.row = row
	return r.rebuild(ctx)
}

// rebuild makes an engine of the set that knows what the ledger has up to r.row.
func (r *Reflex) rebuild(ctx context.Context) error {
	var e *rule.Engine
	n := mostRows + 1
	for span := memory; n > mostRows; span /= 2 { // of more, the newest count
		e, n = rule.New(r.set), 0
		if err := r.each(ctx, entropy.LedgerFilter{Types: rule.Facts()}, func(_ uint64, x rule.Row) bool {
			e.Recall(&x.Event)
			return true
		}); err != nil {
			return err
		}
		if err := r.each(ctx, entropy.LedgerFilter{Types: rule.Findings(), From: r.cfg.Now().Add(-span)}, func(row uint64, x rule.Row) bool {
			if row > r.row || n > mostRows {
				return false
			}
			n++
			e.Apply(x, false)
			return true
		}); err != nil {
			return err
		}
	}
	r.engine, r.ready = e, true
	r.waiting = append(r.waiting, e.Unasked(r.cfg.Now())...)
	r.cfg.Logger.Info("the rules know the ledger", slog.Int("rules", len(r.set.Rules)), slog.Int("rows", n), slog.Uint64("row", r.row))
	return nil
}

// each calls f with rows of the ledger in order, until it returns false.
func (r *Reflex) each(ctx context.Context, q entropy.LedgerFilter, f func(uint64, rule.Row) bool) error {
	for q.Limit = entropy.MaxIngest; ; {
		page, err := r.cfg.Ledger.Events(ctx, q)
		if err != nil {
			return fmt.Errorf("read the ledger for the rules: %w", err)
		}
		for i := range page.Entries {
			x := rule.Row{At: page.Entries[i].ReceivedAt}
			if json.Unmarshal(page.Entries[i].Event, &x.Event) == nil && !f(page.Entries[i].Row, x) {
				return nil
			}
		}
		if len(page.Entries) < q.Limit {
			return nil
		}
		q.After = page.Next
	}
}

// Types are those of the rows that Handle is to be given.
func Types() []string { return append(rule.Facts(), rule.Findings()...) }

// Handle takes the next rows. On an error they may be given again.
func (r *Reflex) Handle(ctx context.Context, rows []entropy.LedgerEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return entropy.Errorf(entropy.CodeUnavailable, "the rules have not begun")
	}
	for i := range rows {
		if err := r.perform(ctx); err != nil {
			return err
		}
		if rows[i].Row <= r.row {
			continue // handled before what could not be done then
		}
		x := rule.Row{At: rows[i].ReceivedAt}
		r.row = rows[i].Row
		if json.Unmarshal(rows[i].Event, &x.Event) != nil {
			continue
		}
		r.waiting = append(r.waiting, r.engine.Apply(x, r.cfg.Now().Sub(x.At) < tooLate)...)
	}
	return r.perform(ctx)
}

// Reached says that Handle was given all rows.
func (r *Reflex) Reached(uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caughtUp = r.ready
}

// Run lets time pass for the rules, and looks at their file, until ctx ends.
func (r *Reflex) Run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := r.cfg.Now()
		if now.Sub(looked) >= look || now.Before(looked) {
			r.reload(ctx)
			looked = now
		}
		r.pass(ctx, now)
	}
}

// pass lets the rules do what is due.
func (r *Reflex) pass(ctx context.Context, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.caughtUp {
		return // what is due may have ended in a row that is still to come
	}
	r.waiting = append(r.waiting, r.engine.Advance(now, true)...)
	if err := r.perform(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("what the rules decided cannot be done now; it is tried again", slog.Any("error", err))
	}
	if on := r.engine.Storming(now); on != r.storming {
		r.storming = on
		if on {
			r.cfg.Logger.Warn("too many actions at once: all rules only suggest until it is quiet", slog.Int("at_most", r.set.Storm.AtMost), slog.Duration("within", r.set.Storm.Per))
		} else {
			r.cfg.Logger.Info("the storm of actions is over: each rule goes as far again as it says")
		}
	}
}

// perform does what was decided, in order. What it could not do stays.
func (r *Reflex) perform(ctx context.Context) error {
	for len(r.waiting) > 0 {
		o := r.waiting[0]
		if err := r.record(ctx, &o.Event); err != nil {
			return err
		}
		if o.Ask != nil {
			refused, err := r.ask(entropy.WithPrincipal(ctx, Principal), o.Ask)
			if err != nil && refused == nil {
				return err
			}
			r.waiting = append(r.waiting, refused...)
		}
		r.waiting[0] = rule.Order{}
		r.waiting = r.waiting[1:]
	}
	r.waiting = nil
	return nil
}

// record keeps an event in the ledger; one that is there is left as it is.
func (r *Reflex) record(ctx context.Context, ev *entropy.Event) error {
	body, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ev.Type, err)
	}
	_, _, err = r.cfg.Ledger.Record(ctx, r.cfg.Now(), []entropy.Observation{{Event: *ev, Body: body, Origin: Name}}, nil)
	return err
}

// ask asks for the action of a suggestion. An error with orders says that it never
// will be asked for; one without, that it may be tried again.
func (r *Reflex) ask(ctx context.Context, s *entropy.Suggestion) ([]rule.Order, error) {
	request, err := rule.Request(s)
	if err != nil {
		return nil, err
	}
	_, err = r.cfg.Ask(ctx, request)
	switch entropy.ErrorCode(err) {
	case entropy.CodeConflict: // it was asked for before; the rules have changed since
		return nil, nil
	case entropy.CodeInvalid, entropy.CodeTooLarge, entropy.CodeForbidden, entropy.CodeOverloaded:
		r.cfg.Logger.Warn("the action of a rule was refused", slog.String("rule", s.Rule), slog.String("entity", s.Entity), slog.Any("error", err))
		return r.engine.Refused(s.ID, err.Error(), r.cfg.Now()), err
	}
	return nil, err
}

// reload reads the file of rules again when it has changed. One that is wrong is
// not put in force.
func (r *Reflex) reload(ctx context.Context) {
	if r.cfg.File == "" {
		return
	}
	info, err := os.Stat(r.cfg.File)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.seen != nil && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size() || !r.ready {
		return
	}
	set, info, err := Load(r.cfg.File)
	r.seen = info
	if err != nil {
		if text := err.Error(); text != r.problem {
			r.problem = text
			r.cfg.Logger.Error("the file of rules has changed and is wrong: the rules of before stay in force", slog.String("file", r.cfg.File), slog.Any("error", err))
		}
		return
	}
	r.problem = ""
	if set.Digest == r.set.Digest {
		return
	}
	before := r.set
	if r.set = set; r.rebuild(ctx) != nil {
		r.set, r.seen = before, nil // it is tried again
		return
	}
	r.loaded = r.cfg.Now().UTC()
	r.cfg.Logger.Info("the file of rules was read again", slog.String("file", r.cfg.File), slog.Int("rules", len(set.Rules)))
}
