package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Ledger is what an [Inbox] needs of the ledger. What a method has returned
// without an error is durable.
type Ledger interface {
	// Record keeps observations and dead letters in one transaction. It returns
	// which observations were there already, by the event's ID, and the IDs of the
	// dead letters.
	Record(ctx context.Context, at time.Time, obs []entropy.Observation, dead []entropy.DeadItem) (known []bool, ids []int64, err error)
	Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error)
	DeadItems(ctx context.Context, after int64, limit int) ([]entropy.DeadItem, error)
	DeadItem(ctx context.Context, id int64) (entropy.DeadItem, error)
	// Revive keeps what a dead letter has become and forgets the letter, in one
	// transaction; obs is nil when it is only forgotten.
	Revive(ctx context.Context, at time.Time, id int64, obs *entropy.Observation) (known bool, err error)
}

// Inbox takes events from outside: it normalizes them and keeps them in a ledger.
type Inbox struct {
	rules  *Normalizer
	ledger Ledger
	now    func() time.Time
}

var _ entropy.IngestService = (*Inbox)(nil)

// NewInbox returns an inbox over a ledger; now tells when something came in.
func NewInbox(rules *Normalizer, ledger Ledger, now func() time.Time) *Inbox {
	return &Inbox{rules: rules, ledger: ledger, now: now}
}

// Ingest implements [entropy.IngestService].
func (in *Inbox) Ingest(ctx context.Context, items []json.RawMessage) ([]entropy.IngestResult, error) {
	if len(items) == 0 || len(items) > entropy.MaxIngest {
		return nil, entropy.Errorf(entropy.CodeInvalid, "there are %d items in the call; it takes 1 to %d", len(items), entropy.MaxIngest).
			WithHint("split it; entropy import does that by itself")
	}
	return in.Take(ctx, "http:"+entropy.PrincipalFrom(ctx).Name, items)
}

// Take is Ingest for any origin and any number.
func (in *Inbox) Take(ctx context.Context, origin string, items []json.RawMessage) ([]entropy.IngestResult, error) {
	results := make([]entropy.IngestResult, len(items))
	var obs []entropy.Observation
	var dead []entropy.DeadItem
	var obsAt, deadAt []int
	for i, item := range items {
		o, kept, err := in.rules.Normalize(item)
		switch {
		case err != nil:
			dead, deadAt = append(dead, entropy.DeadItem{Origin: origin, Reason: err.Error(), Raw: string(cutRaw(item))}), append(deadAt, i)
			results[i] = entropy.IngestResult{Status: entropy.IngestDead, Reason: err.Error()}
		case !kept:
			results[i].Status = entropy.IngestDiscarded
		default:
			o.Origin = origin
			obs, obsAt = append(obs, o), append(obsAt, i)
			results[i] = entropy.IngestResult{ID: o.Event.ID, Status: entropy.IngestAccepted}
		}
	}
	if len(obs)+len(dead) == 0 {
		return results, nil
	}
	known, ids, err := in.ledger.Record(ctx, in.now(), obs, dead)
	if err != nil {
		return nil, err
	}
	for i, k := range known {
		if k {
			results[obsAt[i]].Status = entropy.IngestDuplicate
		}
	}
	for i, id := range ids {
		results[deadAt[i]].ID = fmt.Sprintf("dead:%d", id)
	}
	return results, nil
}

// cutRaw bounds what is kept of an item that is too large to be understood.
func cutRaw(item []byte) []byte { return item[:min(len(item), entropy.MaxObservation)] }

// Ledger implements [entropy.IngestService].
func (in *Inbox) Ledger(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error) {
	return in.ledger.Events(ctx, f)
}

// DeadItems implements [entropy.IngestService].
func (in *Inbox) DeadItems(ctx context.Context, after int64, limit int) ([]entropy.DeadItem, error) {
	return in.ledger.DeadItems(ctx, after, limit)
}

// ReplayDeadItem implements [entropy.IngestService].
func (in *Inbox) ReplayDeadItem(ctx context.Context, id int64) (entropy.IngestResult, error) {
	d, err := in.ledger.DeadItem(ctx, id)
	if err != nil {
		return entropy.IngestResult{}, err
	}
	o, kept, err := in.rules.Normalize([]byte(d.Raw))
	if err != nil { // it stays where it is
		return entropy.IngestResult{ID: fmt.Sprintf("dead:%d", id), Status: entropy.IngestDead, Reason: err.Error()}, nil
	}
	if !kept {
		_, err := in.ledger.Revive(ctx, in.now(), id, nil)
		return entropy.IngestResult{Status: entropy.IngestDiscarded}, err
	}
	o.Origin = d.Origin
	known, err := in.ledger.Revive(ctx, in.now(), id, &o)
	result := entropy.IngestResult{ID: o.Event.ID, Status: entropy.IngestAccepted}
	if known {
		result.Status = entropy.IngestDuplicate
	}
	return result, err
}

// DropDeadItem implements [entropy.IngestService].
func (in *Inbox) DropDeadItem(ctx context.Context, id int64) error {
	_, err := in.ledger.Revive(ctx, in.now(), id, nil)
	return err
}
