package fabric_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/fabric"
)

// plain is a NATS client that is nothing but a socket: what anybody may use who
// follows docs/PROTOCOL.md.
type plain struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	sids int
}

func dialPlain(t *testing.T, c *fabric.Control, user, password string) *plain {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.BusURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &plain{t: t, conn: conn, r: bufio.NewReader(conn)}
	p.line() // INFO
	hello, _ := json.Marshal(map[string]any{"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "user": user, "pass": password})
	p.send("CONNECT %s\r\nPING\r\n", hello)
	return p
}

func (p *plain) send(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.conn, format, args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plain) line() string {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	s, err := p.r.ReadString('\n')
	if err != nil {
		p.t.Fatalf("read from NATS: %v", err)
	}
	return strings.TrimRight(s, "\r\n")
}

func (p *plain) subscribe(subject string) {
	p.sids++
	p.send("SUB %s %d\r\n", subject, p.sids)
}

func (p *plain) publish(subject, body string) {
	p.send("PUB %s %d\r\n%s\r\n", subject, len(body), body)
}

// next returns the next message, or what the server refuses.
func (p *plain) next() (subject, body, refused string) {
	p.t.Helper()
	for {
		f := strings.Fields(p.line())
		switch {
		case len(f) == 0 || f[0] == "PONG" || f[0] == "+OK" || f[0] == "INFO":
		case f[0] == "PING":
			p.send("PONG\r\n")
		case f[0] == "-ERR":
			return "", "", strings.Join(f[1:], " ")
		case f[0] == "MSG" || f[0] == "HMSG":
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				p.t.Fatal(f)
			}
			b := make([]byte, n+2)
			if _, err := io.ReadFull(p.r, b); err != nil {
				p.t.Fatal(err)
			}
			if f[0] == "HMSG" {
				head, _ := strconv.Atoi(f[len(f)-2])
				b = b[head:]
			}
			return f[1], string(b[:len(b)-2]), ""
		default:
			p.t.Fatalf("NATS says %q", f)
		}
	}
}

func token(t *testing.T, c *fabric.Control, spec entropy.TokenSpec) entropy.CreatedToken {
	t.Helper()
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	made, err := client.CreateToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// mission is the envelope of the mission's document, as printed there.
const mission = `{
"ts": "2025-08-10T16:42:00Z",
"event_type": "action.requested",
"entity_id": "job:abc123",
"correlation_id": "slot:2025-08-10T16:30Z",
"idempotency_key": "act:restart:job:abc123:1691685720",
"source": {"system":"karma","ns":{"component":"rules-fsm"}},
"tags": {"action":"restart_job","priority":"high","tenant":"foo"},
"attrs": {
"command": "restart_job",
"args": {"job_id":"abc123","force":true},
"ttl_sec": 600
}
}`

// proves, H-6: the envelope of the mission's document, from a
// plain client, restarts a job; its progress and result carry the same action_id,
// and the ledger of events tells the story in order. Sent twice, it is one action.
func TestMissionEnvelope(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	runWorker(t, c)
	ctx := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	if r, err := c.Service().Submit(ctx, []entropy.Submission{{ID: "abc123", Spec: entropy.JobSpec{Command: []string{"sleep", "600"}}}}); err != nil || r[0].Error != nil {
		t.Fatal(err, r)
	}
	eventually(t, time.Minute, func() bool {
		j, err := c.Service().Job(ctx, "abc123")
		return err == nil && j.State == entropy.Running
	}, func() string { return "the job does not run" })

	producer := token(t, c, entropy.TokenSpec{Role: entropy.RoleProducer, Name: "karma"})
	viewer := token(t, c, entropy.TokenSpec{Role: entropy.RoleViewer, Name: "screen"})
	screen := dialPlain(t, c, "screen", viewer.Token)
	screen.subscribe("actions.progress")
	screen.subscribe("actions.result")
	screen.send("PING\r\n")
	for screen.line() != "PONG" { // of the connection; then of the subscriptions
	}
	for screen.line() != "PONG" {
	}
	karma := dialPlain(t, c, "karma", producer.Token)
	karma.publish("actions.requested", mission)
	karma.publish("actions.requested", mission)

	var types []string
	var id string
	for len(types) == 0 || types[len(types)-1] != "action.succeeded" {
		_, body, refused := screen.next()
		if refused != "" {
			t.Fatal(refused)
		}
		var e struct {
			entropy.Event
			Attrs struct {
				ActionID string          `json:"action_id"`
				Result   json.RawMessage `json:"result"`
			} `json:"attrs"`
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if id == "" {
			id = e.Attrs.ActionID
		}
		if id == "" || e.Attrs.ActionID != id || e.CorrelationID != "slot:2025-08-10T16:30Z" || e.EntityID != "action:"+id {
			t.Fatalf("%s", body)
		}
		types = append(types, e.Type)
	}
	want := []string{"action.issued", "action.accepted", "action.started", "action.succeeded"}
	if !slices.Equal(types, want) {
		t.Errorf("the facts are %v, want %v", types, want)
	}
	a, err := c.Service().Action(ctx, entropy.ActionID(id))
	if err != nil || a.State != entropy.ActionSucceeded {
		t.Fatalf("%+v %v", a, err)
	}
	if old, err := c.Service().Job(ctx, "abc123"); err != nil || old.State != entropy.Canceled {
		t.Errorf("the old job: %+v %v", old, err)
	}
	want = append([]string{"action.requested"}, want...) // a wish is no progress, but a fact
	var story []string
	eventually(t, time.Minute, func() bool {
		story = nil
		page, err := c.Ingest().Ledger(context.Background(), entropy.LedgerFilter{Entity: "action:" + id})
		for _, entry := range page.Entries {
			var e entropy.Event
			if err := json.Unmarshal(entry.Event, &e); err != nil {
				t.Fatal(err)
			}
			story = append(story, e.Type)
		}
		return err == nil && slices.Equal(story, want)
	}, func() string { return fmt.Sprintf("the ledger says %v", story) })
	if page, err := c.Service().Actions(ctx, entropy.ActionFilter{}); err != nil || len(page.Actions) != 1 {
		t.Errorf("%d actions, want 1: %v", len(page.Actions), err)
	}
}

// runWorker runs a worker of a control plane in this process.
func runWorker(t *testing.T, c *fabric.Control) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{Control: c, DataDir: t.TempDir(), Name: "w", Slots: 2, Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
}

// proves A-1, S-1: on the bus everybody may do what their role is for and nothing
// else, and who is shut out is gone at once.
func TestUsersOfTheBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	mailer := token(t, c, entropy.TokenSpec{Role: entropy.RoleExecutor, Name: "mailer", Commands: []string{"notify"}})
	token(t, c, entropy.TokenSpec{Role: entropy.RoleExecutor, Name: "other", Commands: []string{"run"}})
	karma := token(t, c, entropy.TokenSpec{Role: entropy.RoleProducer, Name: "karma"})
	plc := token(t, c, entropy.TokenSpec{Role: entropy.RoleSource, Name: "plc"})
	for name, try := range map[string]struct{ user, password, subject string }{
		"a result of another":      {"mailer", mailer.Token, "actions.result.other"},
		"a fact":                   {"mailer", mailer.Token, "actions.result"},
		"an order":                 {"karma", karma.Token, "actions.requested.run"},
		"a verdict":                {"mailer", mailer.Token, "actions.verdict.mailer"},
		"an event of the fabric":   {"karma", karma.Token, "events.normalized.entropy.job"},
		"deeper than is stored":    {"plc", plc.Token, "events.normalized.a.b"},
		"the password of another":  {"other", mailer.Token, ""},
		"a name that nobody has":   {"nobody", mailer.Token, ""},
		"the control plane's name": {"control", mailer.Token, ""},
		"no password":              {"mailer", "", ""},
	} {
		p := dialPlain(t, c, try.user, try.password)
		if try.subject != "" {
			p.publish(try.subject, "{}")
		}
		if _, _, refused := p.next(); !strings.Contains(refused, "iolation") {
			t.Errorf("%s: %q", name, refused)
		}
	}
	p := dialPlain(t, c, "mailer", mailer.Token)
	p.subscribe("actions.verdict.mailer")
	p.send("PING\r\n")
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	if _, err := client.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleExecutor, Name: "mailer", Commands: []string{"x"}}); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("a second mailer: %v", err)
	}
	if _, err := client.RevokeToken(t.Context(), mailer.ID); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := p.r.ReadString('\n'); err != nil {
			break // it was shut out; a connection that stays open ends the test by its deadline
		}
	}
	again := dialPlain(t, c, "mailer", mailer.Token)
	if _, _, refused := again.next(); !strings.Contains(refused, "Authorization") {
		t.Errorf("a revoked user is let in: %q", refused)
	}
	if _, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: karma.Token}); err == nil {
		busOnly, _ := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: karma.Token})
		if _, err := busOnly.Status(t.Context()); entropy.ErrorCode(err) != entropy.CodeForbidden {
			t.Errorf("a user of the bus at the API: %v", err)
		}
	}
}

// proves E-1, H-5: what a source publishes is in the ledger; what claims to be the
// fabric's own is not taken in.
func TestEventsFromTheBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir()})
	plc := token(t, c, entropy.TokenSpec{Role: entropy.RoleSource, Name: "plc"})
	p := dialPlain(t, c, "plc", plc.Token)
	p.publish("events.normalized", `{"id":"good","ts":"2026-01-31T16:42:00Z","event_type":"a","entity_id":"k:1"}`)
	p.publish("events.normalized", `{"id":"ours","ts":"2026-01-31T16:42:00Z","event_type":"a","entity_id":"k:1","source":{"system":"entropy"}}`)
	p.publish("events.normalized.line3", `{"id":"more","ts":"2026-01-31T16:42:01Z","event_type":"a","entity_id":"k:1"}`)
	eventually(t, time.Minute, func() bool {
		page, err := c.Ingest().Ledger(t.Context(), entropy.LedgerFilter{Entity: "k:1"})
		dead, err2 := c.Ingest().DeadItems(t.Context(), 0, 10)
		return err == nil && err2 == nil && len(page.Entries) == 2 && len(dead) == 1 && strings.Contains(dead[0].Reason, "not taken in again")
	}, func() string { return "they do not arrive" })
}

// proves H-4, H-6, A-4: the control plane and its bus are stopped while actions are
// under way, and the bus's disk is wiped. What an executor still holds arrives, what
// nobody had taken is issued again, every action has one outcome, and every journaled
// fact is on the bus again.
func TestWipedBusLosesNoAction(t *testing.T) {
	const n = 120
	dir, address := t.TempDir(), freeAddress(t)
	cfg := fabric.ControlConfig{DataDir: dir, Bus: fabric.BusConfig{Listen: address}}
	c, stop := runBusControl(t, cfg)
	made := token(t, c, entropy.TokenSpec{Role: entropy.RoleExecutor, Name: "worker-1", Commands: []string{"work"}})

	x := executor.New(executor.Config{Name: "worker-1", URL: "nats://" + address, User: "worker-1", Password: made.Token, Spool: t.TempDir(),
		Slots: 8, Resend: 200 * time.Millisecond, Logger: testLogger()})
	hold := make(chan struct{})
	var began atomic.Int64
	x.Handle("work", func(ctx context.Context, _ *executor.Task) (any, error) {
		if began.Add(1) > n/3 { // these are under way when the bus is wiped
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return map[string]string{"did": "it"}, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("executor: %v", err)
		}
	}()

	admin := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	for i := range n {
		envelope := fmt.Appendf(nil, `{"id":"a%d","ts":"2026-01-31T16:42:00Z","event_type":"action.requested","entity_id":"thing:%d","attrs":{"command":"work","ttl_sec":600}}`, i, i)
		if _, err := c.Service().RequestAction(admin, entropy.ActionRequest{Envelope: envelope}); err != nil {
			t.Fatal(err)
		}
	}
	succeeded := func(c *fabric.Control) int {
		page, err := c.Service().Actions(admin, entropy.ActionFilter{States: []entropy.ActionState{entropy.ActionSucceeded}, Limit: n})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Actions)
	}
	eventually(t, time.Minute, func() bool { return began.Load() > n/3+4 && succeeded(c) > 0 }, func() string { return fmt.Sprintf("%d began", began.Load()) })
	stop()
	close(hold) // they end while nobody hears it
	if err := os.RemoveAll(filepath.Join(dir, "nats")); err != nil {
		t.Fatal(err)
	}
	c, _ = runBusControl(t, cfg)
	eventually(t, 2*time.Minute, func() bool { return succeeded(c) == n }, func() string { return fmt.Sprintf("%d of %d succeeded", succeeded(c), n) })
	outcomes := make(map[string]int)
	for _, e := range journaled(t, c) {
		if e.Type == "action.succeeded" || e.Type == "action.failed" || e.Type == "action.canceled" {
			outcomes[e.EntityID]++
		}
	}
	for id, k := range outcomes {
		if k != 1 {
			t.Errorf("%s has %d outcomes", id, k)
		}
	}
	if len(outcomes) != n {
		t.Errorf("%d actions have an outcome", len(outcomes))
	}
	untilPublished(t, c)
}
