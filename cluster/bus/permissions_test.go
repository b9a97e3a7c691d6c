package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// quiet leaves errors to what is looked at, rather than to the terminal.
var quiet = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// subjectsOf are what the matrix is made of: every kind of subject that there is on
// the bus, with those of others, of the server, and of nobody.
func subjectsOf(name string) []string {
	s := []string{
		"actions.requested", "actions.requested.restart", "actions.requested.drain", "actions.requested.restart.x",
		"actions.progress", "actions.result", "actions.dlq", "actions.verdict." + name,
		"events.normalized", "events.normalized.plc", "events.normalized.plc.a.b", "events.normalized.entropy", "events.normalized.entropy.job",
		"entropy.deviation.job", "$SYS.REQ.SERVER.PING", "anything", "$KV.x.y",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.INFO.ACTIONS_ORDERS.exec-restart", "$JS.API.CONSUMER.INFO.ACTIONS_ORDERS.exec-drain",
		"$JS.API.CONSUMER.MSG.NEXT.ACTIONS_ORDERS.exec-restart", "$JS.API.CONSUMER.MSG.NEXT.ACTIONS_ORDERS.exec-drain",
		"$JS.ACK.ACTIONS_ORDERS.exec-restart.1.1.1.1.0", "$JS.ACK.ACTIONS_ORDERS.exec-drain.1.1.1.1.0",
		"$JS.ACK.d.a.ACTIONS_ORDERS.exec-restart.1.1.1.1.0", "$JS.ACK.d.a.ACTIONS_ORDERS.exec-drain.1.1.1.1.0",
		"_INBOX." + name + ".x", Inbox(name) + ".x", Inbox("other") + ".x", Inbox(controlName) + ".x",
	}
	for _, who := range []string{name, "other"} {
		s = append(s, "actions.progress."+who, "actions.result."+who, "actions.verdict."+who)
	}
	for _, t := range streamTable(nil) {
		for _, verb := range []string{"STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.INFO", "CONSUMER.CREATE", "CONSUMER.DELETE", "DIRECT.GET"} {
			s = append(s, fmt.Sprintf("$JS.API.%s.%s", verb, t.name))
		}
		s = append(s, "$JS.API.DIRECT.GET."+t.name+"."+strings.TrimSuffix(strings.TrimSuffix(t.subjects[0], ".*"), ".>"), "$JS.API.CONSUMER.CREATE."+t.name+".mine")
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// allowed is the matrix in words, written down apart from the code that makes the
// permissions. What it does not name is refused.
func allowed(role Role, name string) (publish, subscribe func(string) bool) {
	own := func(s string) bool { return strings.HasPrefix(s, Inbox(name)+".") }
	no := func(string) bool { return false }
	switch role {
	case RoleProducer:
		return func(s string) bool { return s == "actions.requested" }, own
	case RoleSource:
		return func(s string) bool {
			return s == "events.normalized" || strings.HasPrefix(s, "events.normalized.") && s != "events.normalized.entropy" && !strings.HasPrefix(s, "events.normalized.entropy.")
		}, own
	case RoleExecutor:
		return func(s string) bool {
				switch s {
				case "actions.progress." + name, "actions.result." + name, "$JS.API.CONSUMER.INFO.ACTIONS_ORDERS.exec-restart",
					"$JS.API.CONSUMER.MSG.NEXT.ACTIONS_ORDERS.exec-restart", "$JS.ACK.ACTIONS_ORDERS.exec-restart.1.1.1.1.0", "$JS.ACK.d.a.ACTIONS_ORDERS.exec-restart.1.1.1.1.0":
					return true
				}
				return false
			}, func(s string) bool {
				return own(s) || s == "actions.verdict."+name
			}
	case RoleReader:
		facts := []string{StreamProgress, StreamResult, StreamDeadLetters, StreamEvents, StreamEntropy}
		return func(s string) bool {
				for _, f := range facts {
					if s == "$JS.API.STREAM.INFO."+f || s == "$JS.API.DIRECT.GET."+f || strings.HasPrefix(s, "$JS.API.DIRECT.GET."+f+".") {
						return true
					}
				}
				return false
			}, func(s string) bool {
				return own(s) || s == "actions.progress" || s == "actions.result" || s == "actions.dlq" || strings.HasPrefix(s, "entropy.") || strings.HasPrefix(s, "events.normalized.entropy.")
			}
	}
	return no, no
}

// proves S-1, A-3: who may say and hear what, deny by default, against a real server.
func TestPermissionsMatrix(t *testing.T) {
	t.Parallel()
	users := new(directory)
	b := start(t, Config{Listen: loopback, Users: users})
	checked := 0
	for _, role := range []Role{RoleProducer, RoleExecutor, RoleReader, RoleSource} {
		name := "u-" + string(role)
		users.set(Credential{Name: name, Role: role, Commands: []string{"restart", "in.jected", "*", ">"}, PasswordHash: HashPassword("pw-" + name)})
		nc := mustDial(t, b, name, "pw-"+name, quiet)
		publish, subscribe := allowed(role, name)
		// refused says whether what was just done was. The server answers a ping after
		// it has judged what came before, and names the subject.
		refused := func(verb, subject string) bool {
			must(t, nc.FlushTimeout(10*time.Second))
			err := nc.LastError()
			return err != nil && strings.Contains(err.Error(), fmt.Sprintf("Permissions Violation for %s to %q", verb, subject))
		}
		for _, s := range subjectsOf(name) {
			must(t, nc.PublishRequest(s, Inbox(name)+".ignored", []byte("{}")))
			if got, want := !refused("Publish", s), publish(s); got != want {
				t.Errorf("%s publishes on %s: allowed %v, want %v", role, s, got, want)
			}
			sub, err := nc.SubscribeSync(s)
			must(t, err)
			if got, want := !refused("Subscription", s), subscribe(s); got != want {
				t.Errorf("%s subscribes to %s: allowed %v, want %v", role, s, got, want)
			}
			_ = sub.Unsubscribe() // of one that was refused there is nothing to end
			checked += 2
		}
		for _, s := range []string{">", "*", "actions.>", "actions.*", "actions.*.*", "events.>", "events.normalized.>", "_INBOX.>", "*.>", "$JS.>", "$SYS.>", "actions.verdict.*"} {
			_, err := nc.SubscribeSync(s)
			must(t, err)
			if !refused("Subscription", s) {
				t.Errorf("%s subscribes to %s", role, s)
			}
			checked++
		}
	}
	t.Logf("%d pairs of role and subject", checked)
}

// proves S-1: a credential that is not valid may do nothing.
func TestPermissionsOfNobody(t *testing.T) {
	t.Parallel()
	for _, c := range []Credential{{}, {Name: "x"}, {Name: "x", Role: "admin"}, {Name: "a.b", Role: RoleExecutor}, {Name: "*", Role: RoleExecutor}, {Name: ">", Role: RoleControl}, {Role: RoleControl}} {
		if p, s := Permissions(c); len(p.Allow)+len(s.Allow) > 0 {
			t.Errorf("%+v may publish %v and subscribe to %v", c, p, s)
		}
	}
}

// proves A-3: a result in another executor's name is refused and nowhere stored, one
// in its own is stored.
func TestForgedResult(t *testing.T) {
	t.Parallel()
	users := new(directory)
	b := start(t, Config{Listen: loopback, Users: users})
	for _, n := range []string{"good", "evil"} {
		users.set(Credential{Name: n, Role: RoleExecutor, Commands: []string{"restart"}, PasswordHash: HashPassword(n)})
	}
	evil, good := mustDial(t, b, "evil", "evil", quiet), mustDial(t, b, "good", "good")
	if _, err := evil.Request("actions.result.good", []byte("forged"), 300*time.Millisecond); err == nil {
		t.Fatal("a forged result was acknowledged")
	}
	if _, err := good.Request("actions.result.good", []byte("true"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	all := stored(t, b, StreamReportsResult)
	if len(all) != 1 || string(all[0].Data) != "true" {
		t.Fatalf("%d results are stored", len(all))
	}
}

// proves A-3: an executor with the credentials of one command gets its orders with
// the official client and nothing more than its permissions.
func TestExecutorTakesItsOrders(t *testing.T) {
	t.Parallel()
	users := new(directory)
	b := start(t, Config{Listen: loopback, Users: users})
	key, public := newKey(t)
	users.set(Credential{Name: "ex1", Role: RoleExecutor, Commands: []string{"restart"}, PublicKey: public})
	ctx := t.Context()
	must(t, b.EnsureCommand(ctx, "restart"))
	must(t, b.EnsureCommand(ctx, "drain"))
	must(t, b.PublishMessage(ctx, Message{Subject: "actions.requested.restart", ID: "o1", Data: []byte("order"), TTL: time.Minute}))
	nc, err := nats.Connect("nats://"+b.Addr().String(), nats.Nkey(public, key.Sign), nats.CustomInboxPrefix(Inbox("ex1")))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	cons, err := js.Consumer(ctx, StreamOrders, CommandConsumer("restart"))
	must(t, err)
	m, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
	must(t, err)
	if string(m.Data()) != "order" {
		t.Fatalf("got %q", m.Data())
	}
	must(t, m.DoubleAck(ctx))
	if left := stored(t, b, StreamOrders); len(left) != 0 {
		t.Fatalf("%d orders are left", len(left))
	}
	verdicts, err := nc.SubscribeSync("actions.verdict.ex1")
	must(t, err)
	must(t, nc.Flush())
	must(t, b.Tell("actions.verdict.ex1", []byte("accepted")))
	v, err := verdicts.NextMsg(10 * time.Second)
	must(t, err)
	if string(v.Data) != "accepted" {
		t.Fatalf("got %q", v.Data)
	}
	if err := b.EnsureCommand(ctx, "a.b"); err == nil {
		t.Fatal("a command with a dot was accepted")
	}
}

// proves S-1, S-2: no credential, a wrong one, one that is not for this key, an
// expired one, the control plane's name: all refused.
func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	users := new(directory)
	b := start(t, Config{Listen: loopback, Users: users})
	key, public := newKey(t)
	other, _ := newKey(t)
	users.set(Credential{Name: "ok", Role: RoleReader, PasswordHash: HashPassword("secret"), PublicKey: public})
	users.set(Credential{Name: "late", Role: RoleReader, PasswordHash: HashPassword("secret"), ExpiresAt: time.Now().Add(-time.Second)})
	users.set(Credential{Name: "bare", Role: RoleReader})
	users.set(Credential{Name: controlName, Role: RoleControl, PasswordHash: HashPassword("secret")})
	url := "nats://" + b.Addr().String()
	for what, options := range map[string][]nats.Option{
		"nothing":                   nil,
		"a wrong password":          {nats.UserInfo("ok", "guess")},
		"an empty password":         {nats.UserInfo("bare", "")},
		"a user without one":        {nats.UserInfo("bare", "x")},
		"an unknown user":           {nats.UserInfo("who", "secret")},
		"a bare token":              {nats.Token("secret")},
		"an expired credential":     {nats.UserInfo("late", "secret")},
		"the control plane's name":  {nats.UserInfo(controlName, "secret")},
		"a key of another":          {nats.Nkey(public, other.Sign)},
		"a key that nobody knows":   {nkeyOf(t, other)},
		"the hash for the password": {nats.UserInfo("ok", HashPassword("secret"))},
	} {
		nc, err := nats.Connect(url, options...)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", what, err)
		}
		if nc != nil {
			nc.Close()
		}
	}
	mustDial(t, b, "ok", "secret")
	nc, err := nats.Connect(url, nats.Nkey(public, key.Sign))
	must(t, err)
	nc.Close()
}

func nkeyOf(t *testing.T, k interface {
	PublicKey() (string, error)
	Sign([]byte) ([]byte, error)
},
) nats.Option {
	t.Helper()
	public, err := k.PublicKey()
	must(t, err)
	return nats.Nkey(public, k.Sign)
}

// proves S-2: a revoked credential's connections end at once, by password and by
// key, and nobody else's.
func TestRevoke(t *testing.T) {
	t.Parallel()
	users := new(directory)
	b := start(t, Config{Listen: loopback, Users: users})
	key, public := newKey(t)
	revoked := Credential{Name: "gone", Role: RoleReader, PasswordHash: HashPassword("p"), PublicKey: public}
	users.set(revoked)
	users.set(Credential{Name: "stays", Role: RoleReader, PasswordHash: HashPassword("p")})
	closed := make(chan string, 8)
	onClose := nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.Opts.Name })
	stays := mustDial(t, b, "stays", "p")
	mustDial(t, b, "gone", "p", onClose, nats.Name("by password"))
	nc, err := nats.Connect("nats://"+b.Addr().String(), nats.Nkey(public, key.Sign), onClose, nats.MaxReconnects(0), nats.Name("by key"))
	must(t, err)
	t.Cleanup(nc.Close)
	users.remove(revoked)
	began := time.Now()
	if n := b.Revoke(revoked); n != 2 {
		t.Errorf("%d connections were ended, want 2", n)
	}
	receive(t, "the first connection to end", closed)
	receive(t, "the second connection to end", closed)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := dial(t, b, "gone", "p"); err == nil {
		t.Error("a revoked credential was let in")
	}
	must(t, stays.FlushTimeout(10*time.Second))
}
