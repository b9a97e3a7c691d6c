package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// Task is one attempt, as its handler sees it.
type Task struct {
	Order entropy.ActionOrder // what is to be done
	Event entropy.Event       // the envelope that it came in: entity, tags, correlation
	Log   *slog.Logger        // names the action and the attempt

	mu      sync.Mutex
	percent *float64
	message string
	news    chan struct{} // has room for one: there is progress to tell
}

// ActionID returns the action's ID: the idempotency key of the effect.
func (t *Task) ActionID() string { return string(t.Order.ActionID) }

// DryRun reports whether to say what would be done, and to do nothing. A handler
// sees true only if it was registered with [DryRun].
func (t *Task) DryRun() bool { return t.Order.DryRun }

// Args decodes the arguments into v. Unknown fields are refused, because a
// misspelled argument must not be ignored. The error is final.
func (t *Task) Args(v any) error {
	raw := t.Order.Args
	if len(raw) == 0 || string(raw) == "null" {
		raw = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more than one value")
		}
	}
	if err != nil {
		return Final(fmt.Errorf("the arguments of %s: %w", t.Order.Command, err), KindInvalid)
	}
	return nil
}

// Progress says how far the attempt is, from 0 to 100, and in words. Only the
// newest is told, and none is kept: call it as often as you like.
func (t *Task) Progress(percent float64, message string) {
	if percent != percent { // a NaN has no JSON
		percent = 0
	}
	p := min(max(percent, 0), 100)
	t.mu.Lock()
	t.percent, t.message = &p, clip(message, entropy.MaxMessage)
	t.mu.Unlock()
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// progress returns what is to be told.
func (t *Task) progress() (*float64, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.percent, t.message
}

// clip cuts s to at most n bytes, at a rune's beginning.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
