package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/ingest"
)

// shelf is a ledger in memory.
type shelf struct {
	events []entropy.Observation
	dead   map[int64]entropy.DeadItem
	fail   error
}

func (s *shelf) add(o entropy.Observation) (known bool) {
	known = slices.ContainsFunc(s.events, func(h entropy.Observation) bool { return h.Event.ID == o.Event.ID })
	if !known {
		s.events = append(s.events, o)
	}
	return known
}

func (s *shelf) Record(_ context.Context, _ time.Time, obs []entropy.Observation, dead []entropy.DeadItem) (known []bool, ids []int64, err error) {
	if s.fail != nil {
		return nil, nil, s.fail
	}
	for _, o := range obs {
		known = append(known, s.add(o))
	}
	for _, d := range dead {
		d.ID = int64(len(s.dead)) + 1
		s.dead[d.ID] = d
		ids = append(ids, d.ID)
	}
	return known, ids, nil
}

func (s *shelf) Events(context.Context, entropy.LedgerFilter) (entropy.LedgerPage, error) {
	return entropy.LedgerPage{}, nil
}

func (s *shelf) DeadItems(context.Context, int64, int) ([]entropy.DeadItem, error) {
	return nil, nil
}

func (s *shelf) DeadItem(_ context.Context, id int64) (entropy.DeadItem, error) {
	if d, ok := s.dead[id]; ok {
		return d, nil
	}
	return entropy.DeadItem{}, entropy.Errorf(entropy.CodeNotFound, "none")
}

func (s *shelf) Revive(ctx context.Context, _ time.Time, id int64, o *entropy.Observation) (bool, error) {
	if _, err := s.DeadItem(ctx, id); err != nil {
		return false, err
	}
	delete(s.dead, id)
	return o != nil && s.add(*o), nil
}

func items(s ...string) (raw []json.RawMessage) {
	for _, i := range s {
		raw = append(raw, json.RawMessage(i))
	}
	return raw
}

// proves E-1: each item of a call is answered for, in order; what is not
// understood is kept, and becomes an event when the rules have learned its shape.
func TestInbox(t *testing.T) {
	ctx := context.Background()
	ledger := &shelf{dead: make(map[int64]entropy.DeadItem)}
	noise := ingest.Rule{Name: "noise", Match: map[string]string{"noise": "*"}, Discard: true}
	in := ingest.NewInbox(normalizer(t, ingest.Config{Rules: []ingest.Rule{noise}}), ledger, time.Now)
	const env = `{"id":"e1","ts":"2025-08-10T16:42:00Z","event_type":"a","entity_id":"k:1"}`
	got, err := in.Ingest(ctx, items(env, order, `{"noise":1}`, env))
	if err != nil {
		t.Fatal(err)
	}
	var status []entropy.IngestStatus
	for _, r := range got {
		status = append(status, r.Status)
	}
	if !slices.Equal(status, []entropy.IngestStatus{"accepted", "dead_lettered", "discarded", "duplicate"}) || got[1].ID != "dead:1" || got[1].Reason == "" || got[0].ID != "e1" {
		t.Fatalf("%+v", got)
	}
	if r, err := in.ReplayDeadItem(ctx, 1); err != nil || r.Status != entropy.IngestDead || len(ledger.dead) != 1 {
		t.Errorf("still unknown: %+v %v", r, err)
	}
	in = ingest.NewInbox(normalizer(t, ingest.Config{Rules: []ingest.Rule{orders}}), ledger, time.Now)
	if r, err := in.ReplayDeadItem(ctx, 1); err != nil || r.Status != entropy.IngestAccepted || len(ledger.dead) != 0 || len(ledger.events) != 2 {
		t.Errorf("%+v %v", r, err)
	}
	if err := in.DropDeadItem(ctx, 1); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Errorf("%v", err)
	}
	ledger.fail = entropy.Errorf(entropy.CodeDiskFull, "full")
	if _, err := in.Ingest(ctx, items(env)); entropy.ErrorCode(err) != entropy.CodeDiskFull {
		t.Errorf("an item that is not kept was acknowledged: %v", err)
	}
	many := make([]json.RawMessage, entropy.MaxIngest+1)
	for i := range many {
		many[i] = json.RawMessage(fmt.Sprint(i))
	}
	for _, bad := range [][]json.RawMessage{nil, many} {
		if _, err := in.Ingest(ctx, bad); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%d items: %v", len(bad), err)
		}
	}
}
