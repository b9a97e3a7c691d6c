package fabric_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/fabric"
)

func openLetters(t *testing.T, c *fabric.Control) []*entropy.DeadLetter {
	t.Helper()
	page, err := c.Service().DeadLetters(t.Context(), entropy.DeadLetterFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Letters
}

// proves A-4, E-1: whatever a plain client publishes and nobody can understand is a
// dead letter with its bytes and the reason, once however often it comes; what is
// understood goes on beside it. The status counts them.
func TestRubbishOnTheBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	ctx := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	rubbish := map[string]string{ // and what is said about it
		`{"ts": `: "JSON",
		`{"id":"b1","event_type":"action.requested","attrs":{"args":{}}}`:                                                   "command is missing",
		`{"id":"b2","event_type":"action.requested","attrs":{"command":"x.>"}}`:                                             "letters, digits",
		`{"id":"b3","event_type":"action.requested","attrs":{"command":"x\r\nPUB actions.result 2"}}`:                       "letters, digits",
		`{"event_type":"action.requested","attrs":{"command":"x"}}`:                                                         "idempotency_key",
		`{"id":"b4","event_type":"action.succeeded","attrs":{"command":"x"}}`:                                               "event_type",
		`{"id":"b5","event_type":"action.requested","attrs":{"command":"x","args":"` + strings.Repeat("a", 300<<10) + `"}}`: "bytes",
		`{"id":"b6","event_type":"action.requested","attrs":{"command":"x","ttl_sec":-1}}`:                                  "ttl_sec",
		`[1,2]`: "it is a JSON array, not an object",
		`{"id":"b7","event_type":"action.requested","attrs":{"command":"x","ttl_sec":"soon"}}`: "ttl_sec may not be a JSON string",
		`{"id":"b8","ts":"yesterday","event_type":"action.requested","attrs":{"command":"x"}}`: "the time",
	}
	karma := dialPlain(t, c, "karma", token(t, c, entropy.TokenSpec{Role: entropy.RoleProducer, Name: "karma"}).Token)
	for range 3 {
		for raw := range rubbish {
			karma.publish("actions.requested", raw)
		}
	}
	karma.publish("actions.requested", `{"id":"good","ts":"1999-01-01T00:00:00Z","event_type":"action.requested","entity_id":"t:1","attrs":{"command":"nobody_does_this","ttl_sec":1}}`)
	x := token(t, c, entropy.TokenSpec{Role: entropy.RoleExecutor, Name: "e1", Commands: []string{"x"}})
	e1 := dialPlain(t, c, "e1", x.Token)
	e1.publish("actions.result.e1", `{"id":"half`)

	// An old ts changes nothing; a command that nobody carries out expires: one more letter.
	want := len(rubbish) + 2
	eventually(t, time.Minute, func() bool { return len(openLetters(t, c)) >= want }, func() string { return fmt.Sprintf("%d of %d dead letters", len(openLetters(t, c)), want) })
	for _, d := range openLetters(t, c) {
		full, err := c.Service().DeadLetter(ctx, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		switch says, known := rubbish[string(full.Raw)]; {
		case d.ID == "good" && d.Reason == string(entropy.FailedExpired):
		case known && strings.Contains(d.Message, says) && d.Subject == "actions.requested":
		case full.Size > len(full.Raw) && strings.HasPrefix(string(full.Raw), `{"id":"b5"`) && strings.Contains(d.Message, "bytes"):
		case d.Subject == "actions.result.e1":
			if _, err := c.Service().ReplayDeadLetter(ctx, d.ID, entropy.Operation{ID: "r"}); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), "asks for no action") {
				t.Errorf("a report was replayed: %v", err)
			}
		default:
			t.Errorf("%+v", full)
		}
	}
	st, err := c.Service().Status(ctx)
	if err != nil || st.DeadLetters != int64(want) || len(openLetters(t, c)) != want {
		t.Errorf("the status counts %d, there are %d, want %d: %v", st.DeadLetters, len(openLetters(t, c)), want, err)
	}
	if _, err := c.Service().DropDeadLetter(ctx, "good", entropy.Operation{ID: "d"}); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Service().Status(ctx); err != nil || st.DeadLetters != int64(want-1) {
		t.Errorf("after a drop the status counts %d: %v", st.DeadLetters, err)
	}
}

// proves A-4: a message that makes its handler fail again and again is given up by the
// bus, and is then a dead letter like any other: journaled once, and on actions.dlq.
func TestGivenUpByTheBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{Sources: []string{"plc"}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	for _, durable := range []string{"stumbling", "other"} {
		go func() {
			ended <- c.Bus().Consume(ctx, bus.StreamEventsIn, durable, "events.normalized.plc.>", func(context.Context, bus.Message) bus.Disposition {
				if durable == "stumbling" {
					panic("it stumbles")
				}
				return bus.Dead("twice the same message")
			})
		}()
	}
	plc := dialPlain(t, c, "plc", token(t, c, entropy.TokenSpec{Role: entropy.RoleSource, Name: "plc"}).Token)
	plc.publish("events.normalized.plc.line3.motor", `{"id":"m1","ts":"2026-01-31T16:42:00Z","event_type":"a","entity_id":"k:1"}`)
	eventually(t, time.Minute, func() bool {
		all, err := c.Bus().Read(t.Context(), bus.StreamDeadLetters, 0, 10)
		return err == nil && len(all) == 1 && strings.Contains(string(all[0].Data), entropy.DeadLetterAdded)
	}, func() string { return "it is not on actions.dlq" })
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	letters := openLetters(t, c)
	if len(letters) != 1 || letters[0].Subject != "events.normalized.plc.line3.motor" || letters[0].Reason != entropy.Unprocessable {
		t.Fatalf("%d letters: %+v", len(letters), letters)
	}
	if page, err := c.Ingest().Ledger(t.Context(), entropy.LedgerFilter{Entity: "k:1"}); err != nil || len(page.Entries) != 1 {
		t.Errorf("the inbox did not take the event of a source: %d entries, %v", len(page.Entries), err)
	}
}

// proves O-4: the status says how the bus and the outbox are, with the address, since
// when, how far behind, and raises an alarm for what is wrong.
func TestStatusOfTheBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	submitTo(t, c, 5)
	untilPublished(t, c)
	began := time.Now()
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	st, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b := st.Bus; b == nil || !b.Connected || !b.Embedded || b.Problem != "" || b.Address == "" || len(b.Streams) == 0 || b.Since.After(began) || b.Since.Before(began.Add(-time.Hour)) {
		t.Errorf("the bus is %+v", st.Bus)
	}
	if len(st.Relays) != 2 || len(st.Alarms) != 0 {
		t.Errorf("relays %+v, alarms %v", st.Relays, st.Alarms)
	}

	away, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{URL: "nats://127.0.0.1:1"}})
	submitTo(t, away, 5)
	eventually(t, 20*time.Second, func() bool {
		st, err = away.Service().Status(t.Context())
		return err == nil && st.Relays[0].Sink == "bus" && st.Relays[0].Lag >= 5 && st.Relays[0].Problem != ""
	}, func() string { return fmt.Sprintf("the status is %+v, %v", st, err) })
	if b := st.Bus; b.Connected || b.Embedded || b.Problem == "" || b.Address != "nats://127.0.0.1:1" || len(st.Alarms) != 1 || !strings.Contains(st.Alarms[0], "bus") {
		t.Errorf("the bus is %+v, alarms %v", b, st.Alarms)
	}
	off, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{Off: true}})
	if st, err := off.Service().Status(t.Context()); err != nil || st.Bus != nil || len(st.Relays) != 1 {
		t.Errorf("without a bus: %+v %v", st, err)
	}
}

// proves A-4 (bad input): rubbish without end, more than is kept, stops nothing that is
// good. What does not fit any more is on actions.dlq, with its bytes.
func TestRubbishWithoutEnd(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	if err := fabric.FillDeadLetters(c); err != nil {
		t.Fatal(err)
	}
	karma := dialPlain(t, c, "karma", token(t, c, entropy.TokenSpec{Role: entropy.RoleProducer, Name: "karma"}).Token)
	const more = 400 // more than may wait
	for i := range more {
		karma.publish("actions.requested", fmt.Sprintf("rubbish %d", i))
	}
	karma.publish("actions.requested", `{"id":"good","event_type":"action.requested","attrs":{"command":"nobody"}}`)
	eventually(t, time.Minute, func() bool {
		_, err := c.Service().Action(t.Context(), "good")
		return err == nil
	}, func() string { return "a good request is kept up" })
	found := map[string]bool{}
	eventually(t, 2*time.Minute, func() bool {
		all, err := c.Bus().Read(t.Context(), bus.StreamDeadLetters, 0, 1<<20)
		for _, m := range all {
			var e struct{ Attrs bus.DeadLetter }
			if json.Unmarshal(m.Data, &e) == nil && strings.HasPrefix(string(e.Attrs.Data), "rubbish ") && strings.Contains(e.Attrs.Reason, "more are not taken on") {
				found[string(e.Attrs.Data)] = true
			}
		}
		return err == nil && len(found) == more
	}, func() string { return fmt.Sprintf("%d of %d are on actions.dlq", len(found), more) })
}

// hand is an executor by hand, with nothing but a socket.
type hand struct {
	*plain
	name string
	n    int
}

func newHand(t *testing.T, c *fabric.Control, name, command string) *hand {
	h := &hand{plain: dialPlain(t, c, name, token(t, c, entropy.TokenSpec{Role: entropy.RoleExecutor, Name: name, Commands: []string{command}}).Token), name: name}
	h.subscribe("actions.verdict." + name)
	return h
}

// order pulls one.
func (h *hand) order(command string) entropy.ActionOrder {
	h.t.Helper()
	inbox := "_INBOX_" + h.name + ".pull"
	h.subscribe(inbox)
	request := `{"batch":1,"expires":30000000000}`
	h.send("PUB $JS.API.CONSUMER.MSG.NEXT.ACTIONS_ORDERS.exec-%s %s %d\r\n%s\r\n", command, inbox, len(request), request)
	_, body, refused := h.next()
	var e struct{ Attrs entropy.ActionOrder }
	if err := json.Unmarshal([]byte(body), &e); err != nil || refused != "" {
		h.t.Fatalf("no order: %s %s %v", refused, body, err)
	}
	return e.Attrs
}

// says reports, and returns the verdict, or what the server refuses.
func (h *hand) says(o entropy.ActionOrder, subject, as, typ string) (verdict, message string) {
	h.t.Helper()
	h.n++
	attrs, err := json.Marshal(entropy.ActionReport{ActionID: o.ActionID, AttemptID: o.AttemptID, Executor: as, Result: json.RawMessage(`{"by":"` + h.name + `"}`)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.publish(subject, fmt.Sprintf(`{"id":"%s-%d","event_type":"action.%s","attrs":%s}`, h.name, h.n, typ, attrs))
	_, body, refused := h.next()
	var v entropy.ActionVerdict
	if refused == "" {
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			h.t.Fatalf("%q: %v", body, err)
		}
	}
	return v.Verdict, v.Message + refused
}

// proves A-1, H-6, S-1: nobody ends another's action, whoever knows its ids: not an
// executor of another command, before it is accepted nor after; not one that takes
// another's name; not one of the same command once it is bound. None of it is recorded.
func TestForgedReports(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	honest, evil, peer := newHand(t, c, "honest", "work"), newHand(t, c, "evil", "other"), newHand(t, c, "peer", "work")
	admin := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	if _, err := c.Service().RequestAction(admin, entropy.ActionRequest{Envelope: []byte(`{"id":"a1","event_type":"action.requested","attrs":{"command":"work"}}`)}); err != nil {
		t.Fatal(err)
	}
	o := honest.order("work")
	forged := func(when string) {
		t.Helper()
		for _, try := range []struct{ subject, as, typ, says string }{
			{"actions.result.evil", "evil", "succeeded", "not for the command"},
			{"actions.progress.evil", "evil", "accepted", "not for the command"},
			{"actions.result.evil", "honest", "succeeded", "evil reports as"},
			{"actions.result.honest", "honest", "succeeded", "Permissions Violation"},
		} {
			if verdict, message := evil.says(o, try.subject, try.as, try.typ); verdict != entropy.ReportRefused && verdict != "" || !strings.Contains(message, try.says) {
				t.Errorf("%s, %s of %s on %s: %q %q", when, try.typ, try.as, try.subject, verdict, message)
			}
		}
	}
	forged("before it is accepted")
	for _, typ := range []string{"accepted", "started"} {
		if verdict, message := honest.says(o, "actions.progress.honest", "honest", typ); verdict != entropy.ReportAccepted {
			t.Fatalf("%s: %s %s", typ, verdict, message)
		}
	}
	forged("while it runs")
	if verdict, message := peer.says(o, "actions.result.peer", "peer", "succeeded"); verdict != entropy.ReportRefused {
		t.Errorf("one of the same command: %s %s", verdict, message)
	}
	if verdict, message := honest.says(o, "actions.result.honest", "honest", "succeeded"); verdict != entropy.ReportAccepted {
		t.Errorf("the honest one: %s %s", verdict, message)
	}
	forged("after its end")
	a, err := c.Service().Action(admin, "a1")
	if err != nil || a.State != entropy.ActionSucceeded || string(a.Result) != `{"by":"honest"}` || len(a.Attempts) != 1 || a.Attempts[0].Executor != "honest" {
		t.Errorf("%+v %v", a, err)
	}
	for _, e := range journaled(t, c) {
		if strings.Contains(string(e.Attrs), `"evil"`) && e.EntityID == "action:a1" {
			t.Errorf("it is recorded: %s", e.Attrs)
		}
	}
	if letters := openLetters(t, c); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}
