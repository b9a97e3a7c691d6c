package fabric_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
)

// scrape returns the line of a metric.
func scrape(t *testing.T, c *fabric.Control, begins string) string {
	t.Helper()
	req, err := http.NewRequest("GET", c.URL()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret(t, c, fabric.AdminTokenFile))
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, begins) {
			return line
		}
	}
	return ""
}

// proves E-6, A-8: a control plane whose ClickHouse is away, from the start and under
// load, takes everything and says what waits; when ClickHouse comes, it gets all of it,
// and answers as the embedded ledger did.
func TestClickHouseComesLate(t *testing.T) {
	server := chdbtest.Start(t)
	server.Kill()
	cfg := clickhouse.Config{URL: server.URL(), Pause: 10 * time.Millisecond, Keep: -1, KeepCounts: -1}
	c, _ := startControl(t, fabric.ControlConfig{Ledger: fabric.LedgerConfig{ClickHouse: cfg}})
	client := dialTo(t, c.URL(), entropy.ClientConfig{Token: secret(t, c, fabric.AdminTokenFile)})
	g := ledgertest.NewGenerator(8)
	var shops [][]json.RawMessage
	for range 4 {
		var items []json.RawMessage
		for _, o := range g.Next(2000) {
			if !o.Event.Own() {
				items = append(items, o.Body)
			}
		}
		shops = append(shops, items)
	}
	var wg sync.WaitGroup
	for _, items := range shops {
		wg.Go(func() {
			for len(items) > 0 {
				n := min(250, len(items))
				if _, err := client.Ingest(t.Context(), items[:n]); err != nil {
					t.Error(err)
				}
				items = items[n:]
			}
		})
	}
	for i := range 20 { // of which the third part is for nobody
		envelope := fmt.Appendf(nil, `{"ts":"2026-01-31T16:42:00Z","event_type":"action.requested","entity_id":"queue:q%d","idempotency_key":"k%d","source":{"system":"test"},"tags":{"tenant":"t"},"attrs":{"command":%q,"args":{"spec":{"command":["true"]}}}}`,
			i, i, []string{"submit_job", "submit_job", "no_such_command"}[i%3])
		if _, err := client.RequestAction(t.Context(), entropy.ActionRequest{Envelope: envelope}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	var status entropy.Status
	eventually(t, 30*time.Second, func() bool {
		var err error
		status, err = client.Status(t.Context())
		return err == nil && len(status.Alarms) == 1
	}, func() string { return fmt.Sprintf("alarms %q", status.Alarms) })
	if !strings.Contains(status.Alarms[0], "ClickHouse takes no events") || !strings.Contains(status.Alarms[0], "nothing is lost") {
		t.Errorf("%q", status.Alarms)
	}
	if lag := scrape(t, c, `entropy_outbox_lag_events{sink="clickhouse"}`); lag == "" || strings.HasSuffix(lag, " 0") {
		t.Errorf("the metric is %q", lag)
	}
	var alone []entropy.ActionStats
	eventually(t, 60*time.Second, func() bool {
		var err error
		alone, err = client.ActionStats(t.Context(), entropy.ActionStatsFilter{})
		return err == nil && len(alone) == 2 && alone[1].Command == "submit_job" && alone[1].Open == 0
	}, func() string { return fmt.Sprintf("%+v", alone) })
	if alone[1].Succeeded != 14 || alone[1].MTTA == nil || alone[0].Open != 6 {
		t.Errorf("%+v", alone)
	}

	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, func() bool {
		s, _ := c.ClickHouse()
		status, err := client.Status(t.Context())
		return err == nil && s.Behind == 0 && len(status.Alarms) == 0
	}, func() string { s, _ := c.ClickHouse(); return fmt.Sprintf("%+v", s) })
	together, err := client.ActionStats(t.Context(), entropy.ActionStatsFilter{})
	if d := ledgertest.Differ(together, alone); err != nil || d != "" {
		t.Error(d, err)
	}
	direct, err := clickhouse.New(cfg, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("another cluster's ledger: %v", err)
	}
}

// proves E-6: old events go when everybody has got them; who is switched off is not
// waited for.
func TestOldEventsGo(t *testing.T) {
	cfg := fabric.ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Bus: fabric.BusConfig{Off: true}, Analyzer: fabric.AnalyzerConfig{Off: true}}
	old := time.Now().Add(-100 * 24 * time.Hour)
	left := func(change func(c *fabric.Control)) (ids []string) {
		c, err := fabric.OpenControl(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if change != nil {
			change(c)
		}
		fabric.PruneLedger(t.Context(), c)
		page, err := fabric.LedgerOf(c).Events(t.Context(), entropy.LedgerFilter{Types: []string{"old.", "young"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			var v entropy.Event
			if err := json.Unmarshal(e.Event, &v); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, v.ID)
		}
		return ids
	}
	got := left(func(c *fabric.Control) {
		l := fabric.LedgerOf(c)
		for i, id := range []string{"a", "b", "c", "d"} {
			at, typ := old, "old.x"
			if i == 3 {
				at, typ = time.Now(), "young"
			}
			e := entropy.Event{ID: id, TS: at, Type: typ, EntityID: "k:1"}
			body, err := json.Marshal(&e)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := l.Record(t.Context(), at, []entropy.Observation{{Event: e, Body: body}}, nil); err != nil {
				t.Fatal(err)
			}
			if row, err := l.Last(t.Context()); err != nil || i == 0 && l.SetCursor(t.Context(), "rules", row) != nil {
				t.Fatal(err)
			}
		}
	})
	if !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("what the rules have not seen yet: %v are left", got)
	}
	cfg.Rules.Off = true
	if got := left(nil); !slices.Equal(got, []string{"d"}) {
		t.Errorf("without rules %v are left", got)
	}
}
