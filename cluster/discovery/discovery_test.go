package discovery

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var (
	labKey = bytes.Repeat([]byte{7}, 32)
	labID  = IDOf(labKey)
)

func keys(id KeyID) []byte {
	if id == labID {
		return labKey
	}
	return nil
}

// answerer runs one on a free port of loopback.
func answerer(t *testing.T, now func() time.Time) netip.AddrPort {
	t.Helper()
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	a, err := Listen(AnswerConfig{Self: Self{Port: 7600, TLS: true, Pin: [32]byte{1}, Node: "ctl"}, Keys: keys, Port: int(at.Port()), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return at
}

func asking(at netip.AddrPort) AskConfig {
	return AskConfig{Secret: labKey, Node: "w1", Also: []netip.AddrPort{at}, links: func() ([]link, error) { return nil, nil }}
}

func find(t *testing.T, cfg AskConfig, within time.Duration) (Found, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return Find(ctx, cfg)
}

// proves C-1: a member finds the control plane, at the address the answer came from.
func TestFind(t *testing.T) {
	f, err := find(t, asking(answerer(t, nil)), 5*time.Second)
	if err != nil || f.URL != "https://127.0.0.1:7600" || f.Node != "ctl" {
		t.Errorf("found %+v, %v", f, err)
	}
}

// proves C-1: who has another key, or expects another authority, finds nobody.
func TestStrangersFindNobody(t *testing.T) {
	at := answerer(t, nil)
	for name, edit := range map[string]func(*AskConfig){
		"key": func(c *AskConfig) { c.Secret = bytes.Repeat([]byte{8}, 32) },
		"pin": func(c *AskConfig) { c.Pin = [32]byte{2} },
	} {
		cfg := asking(at)
		edit(&cfg)
		if f, err := find(t, cfg, 700*time.Millisecond); entropy.ErrorCode(err) != entropy.CodeUnavailable || entropy.AsError(err).Hint == "" {
			t.Errorf("wrong %s: found %+v, %v", name, f, err)
		}
	}
}

// A clock an hour off is told so, with the cure. proves C-3
func TestClockSkew(t *testing.T) {
	at := answerer(t, func() time.Time { return time.Now().Add(-time.Hour) })
	_, err := find(t, asking(at), 5*time.Second)
	if entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), "off by 1h0m0s") {
		t.Errorf("error %v", err)
	}
}

// A question that is heard twice is answered once, and nothing but a question is.
func TestReplayIsNotAnswered(t *testing.T) {
	a := &Answerer{cfg: AnswerConfig{Self: Self{Port: 7600}, Keys: keys, Now: time.Now, Logger: quiet()}}
	q := Encode(Packet{Kind: Ask, Key: labID, Nonce: Nonce{1}, Time: time.Now()}, labKey)
	reply := a.reply(q, nil)
	if p, err := Decode(reply, keys); err != nil || p.Kind != Answer || p.Nonce != (Nonce{1}) {
		t.Fatalf("answer %+v, %v", p, err)
	}
	if a.reply(q, nil) != nil {
		t.Error("a replayed question was answered")
	}
	if a.reply(reply, nil) != nil {
		t.Error("an answer was answered")
	}
	old := &asker{cfg: asking(netip.AddrPort{}), nonce: map[Nonce]bool{{2}: true}}
	old.cfg.Now = time.Now
	if _, ok := old.judge(reply, &net.UDPAddr{}); ok {
		t.Error("an answer to another question was believed")
	}
}

// Nonces are remembered while their times are accepted, and not for ever.
func TestReplayMemory(t *testing.T) {
	var r replays
	start := time.Now()
	for i, step := range []struct {
		at   time.Duration
		seen bool
	}{{0, false}, {MaxSkew, true}, {2 * MaxSkew, true}, {3 * MaxSkew, true}, {9 * MaxSkew, false}} {
		if i == 3 {
			r.seen(Nonce{9}, start.Add(step.at)) // a new generation
		}
		if got := r.seen(Nonce{1}, start.Add(step.at)); got != step.seen {
			t.Errorf("after %s: seen %v", step.at, got)
		}
	}
	for i := range remembered + 5 {
		r.seen(Nonce{1, byte(i), byte(i >> 8)}, start.Add(9*MaxSkew))
	}
	if len(r.now) > remembered {
		t.Errorf("%d nonces are remembered", len(r.now))
	}
}

// Every truncation and every changed byte is refused.
func TestDamagedPackets(t *testing.T) {
	good := Encode(Packet{Kind: Answer, Key: labID, Port: 1, Node: strings.Repeat("n", 100)}, labKey)
	if p, err := Decode(good, keys); err != nil || len(good) != Size || p.Node != strings.Repeat("n", maxNode) {
		t.Fatalf("%+v %v", p, err)
	}
	for i := range good {
		if _, err := Decode(good[:i], keys); err == nil {
			t.Errorf("%d bytes were accepted", i)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := Decode(bad, keys); err == nil {
			t.Errorf("a changed byte %d was accepted", i)
		}
	}
	if _, err := Decode(append(good, 0), keys); err == nil {
		t.Error("a longer packet was accepted")
	}
}

// Malformed, truncated, oversized, forged and replayed beacons, as they arrive on the
// socket, get no answer, and the next good question does.
func TestBadBeaconsAreDropped(t *testing.T) {
	at := answerer(t, nil)
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(n Nonce, key []byte) []byte {
		return Encode(Packet{Kind: Ask, Key: labID, Nonce: n, Time: time.Now(), Node: "w"}, key)
	}
	first := ask(Nonce{1}, labKey)
	for _, b := range [][]byte{first, first, nil, []byte("ENT"), first[:Size-1], append(bytes.Clone(first), make([]byte, 9000)...), bytes.Repeat([]byte{0xff}, Size),
		ask(Nonce{2}, bytes.Repeat([]byte{8}, 32)), Encode(Packet{Kind: Answer, Key: labID, Nonce: Nonce{3}, Time: time.Now()}, labKey), ask(Nonce{4}, labKey)} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var answered []byte
	b := make([]byte, 10_000)
	for len(answered) == 0 || answered[len(answered)-1] != 4 {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // it is open
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("answered: %v; then %v", answered, err)
		}
		p, err := Decode(b[:n], keys)
		if err != nil {
			t.Fatal(err)
		}
		answered = append(answered, p.Nonce[0])
	}
	if !bytes.Equal(answered, []byte{1, 4}) {
		t.Errorf("answered were the questions %v", answered)
	}
}

// FuzzDecode: nothing that arrives breaks the decoder, and what it accepts is what
// the holder of the key has sent.
func FuzzDecode(f *testing.F) {
	f.Add(Encode(Packet{Kind: Ask, Key: labID, Node: "w", Time: time.UnixMilli(1)}, labKey), true)
	f.Add([]byte("ENT\x01"), false)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign && len(b) == Size { // let it past the MAC
			copy(b[6:], labID[:])
			b = append(bytes.Clone(b[:body]), sum(b[:body], labKey)...)
		}
		p, err := Decode(b, keys)
		if err != nil {
			return
		}
		again, err := Decode(Encode(p, labKey), keys)
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
