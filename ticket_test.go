package entropy_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var aTicket = entropy.Ticket{ClusterID: "0198c0de-0000-7000-8000-000000000001", CAPin: strings.Repeat("ab", 32), Secret: "ent_join_id_secret_sum"}

// proves C-1: a ticket is one string, and what is wrong with one is said without
// its secret
func TestTicket(t *testing.T) {
	for _, want := range []entropy.Ticket{aTicket, {ClusterID: "c", Secret: "s.with.dots"}} {
		got, err := entropy.ParseTicket(want.String())
		if err != nil || got != want || !entropy.IsTicket(want.String()) {
			t.Errorf("%s: %+v %v", want, got, err)
		}
	}
	whole := aTicket.String()
	for name, text := range map[string]string{
		"empty": "", "bare": aTicket.Secret, "prefix": "ent1.", "newer": "ent2" + whole[4:], "one part": "ent1.c", "two parts": "ent1.c." + aTicket.CAPin,
		"no secret": "ent1.c." + aTicket.CAPin + ".", "no cluster": "ent1.." + aTicket.CAPin + ".s", "bad cluster": "ent1.c d." + aTicket.CAPin + ".s",
		"short pin": "ent1.c.abab.s", "no pin": "ent1.c..s", "upper-case pin": "ent1.c." + strings.ToUpper(aTicket.CAPin) + ".s",
		"line break": whole + "\n", "NUL": whole + "\x00", "not ASCII": whole + "é", "oversized": whole + strings.Repeat("x", 1<<20),
	} {
		_, err := entropy.ParseTicket(text)
		if entropy.ErrorCode(err) != entropy.CodeInvalid || strings.Contains(err.Error(), aTicket.Secret) || !strings.Contains(err.Error(), "token create") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// proves C-1: no string of any kind is read as something else than it says
func FuzzTicket(f *testing.F) {
	f.Add(aTicket.String())
	f.Add("ent1.c.-.s")
	f.Add("ent1....")
	f.Add(aTicket.String()[:40])
	f.Fuzz(func(t *testing.T, text string) {
		got, err := entropy.ParseTicket(text)
		if err != nil {
			if got != (entropy.Ticket{}) || entropy.ErrorCode(err) != entropy.CodeInvalid {
				t.Fatalf("%q: %+v %v", text, got, err)
			}
			return
		}
		if got.String() != text {
			t.Fatalf("%q is read as %q", text, got)
		}
	})
}

// proves S-2: a token counts what became of it, and is no longer good then
func TestTokenLife(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	change, err := entropy.NewToken(entropy.Token{ID: "t1", Role: entropy.RoleJoin, Hash: "h", CreatedAt: at, MaxUses: 2})
	if err != nil {
		t.Fatal(err)
	}
	replayed := new(entropy.Token)
	apply := func(c entropy.Change) *entropy.Token {
		t.Helper()
		for _, e := range c.Events {
			if err := replayed.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(replayed, c.State) {
			t.Fatalf("a replay gives %+v, the change %+v", replayed, c.State)
		}
		return c.State.(*entropy.Token)
	}
	tok := apply(change)
	step := func(event string, want entropy.TokenState) {
		t.Helper()
		c, err := tok.Change(event, entropy.TokenUse{Worker: "w"}, at)
		if err != nil || c.Expected != tok.Version {
			t.Fatalf("%s: %+v %v", event, c, err)
		}
		if tok = apply(c); tok.State(at) != want {
			t.Errorf("after %s it is %s, want %s", event, tok.State(at), want)
		}
	}
	step(entropy.TokenUsed, entropy.TokenActive)
	step(entropy.TokenUsed, entropy.TokenExhausted)
	step(entropy.TokenRefused, entropy.TokenExhausted)
	step(entropy.TokenRevoked, entropy.TokenIsRevoked)
	if info := tok.Info(at); info.Uses != 2 || info.Refused != 1 || tok.Version != 5 {
		t.Errorf("%+v, version %d", info, tok.Version)
	}
	for _, e := range []entropy.Event{{Type: entropy.TokenCreated, Attrs: []byte("{}")}, {Type: "token.sold"}} {
		if before := *tok; tok.Apply(e) == nil || !reflect.DeepEqual(*tok, before) {
			t.Errorf("%s is applied", e.Type)
		}
	}
	if new(entropy.Token).Apply(entropy.Event{Type: entropy.TokenUsed}) == nil {
		t.Error("a token is used before it is made")
	}
}

// proves S-2: what a token may not be is refused with a hint
func TestTokenSpec(t *testing.T) {
	for name, s := range map[string]entropy.TokenSpec{
		"no role": {}, "worker": {Role: entropy.RoleWorker}, "negative": {Role: entropy.RoleJoin, Uses: -1}, "many": {Role: entropy.RoleJoin, Uses: entropy.MaxTokenUses + 1},
		"admin with uses": {Role: entropy.RoleAdmin, Uses: 1}, "past": {Role: entropy.RoleJoin, TTL: -1}, "long note": {Role: entropy.RoleJoin, Note: strings.Repeat("x", 257)},
	} {
		if err := s.Validate(); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := entropy.TokenSpec{Role: entropy.RoleJoin, Uses: 1, TTL: 1, Note: "n"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
