package fabric

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// proves C-1: strangers cannot make the control plane remember more than a little,
// or try codes faster than a little; what they began is forgotten; two that wait
// with one check are both refused
func TestPairingLimits(t *testing.T) {
	c, err := OpenControl(t.Context(), ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", TLS: true, TrustLAN: true, Gossip: GossipConfig{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	p := newPairings(c.tokens, slog.New(slog.DiscardHandler))
	p.now = func() time.Time { return now }
	start := func(i int, address string) (string, string, error) {
		nonce := identity.NewNonce()
		o, err := p.Start(t.Context(), entropy.PairRequest{Worker: entropy.WorkerID(fmt.Sprintf("w%d", i)), KeyHash: strings.Repeat("ab", 32), Commitment: identity.Commit(nonce)}, address)
		return o.ID, nonce, err
	}
	begun := 0
	for i := range 1000 {
		now = now.Add(100 * time.Millisecond)
		if _, _, err := start(i, fmt.Sprintf("10.0.0.%d", i%50)); err == nil {
			begun++
		} else if entropy.ErrorCode(err) != entropy.CodeOverloaded || entropy.AsError(err).Hint == "" {
			t.Fatal(err)
		}
	}
	if begun > pairingBurst+11 || len(p.open) > maxPairings {
		t.Errorf("in 100 s %d began, %d wait", begun, len(p.open))
	}
	now = now.Add(time.Hour)
	for i := range maxPairingsOfOne + 1 {
		if _, _, err := start(i, "10.0.0.1"); (err == nil) != (i < maxPairingsOfOne) {
			t.Errorf("pairing %d of one address: %v", i, err)
		}
	}
	now = now.Add(pairingRevealsSoon)
	id, nonce, err := start(0, "10.0.0.1")
	if err != nil || len(p.open) != 1 {
		t.Fatalf("%d wait, %v", len(p.open), err)
	}
	if err := p.Reveal(t.Context(), id, identity.NewNonce()); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("another nonce: %v", err)
	}
	if err := p.Reveal(t.Context(), id, nonce); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Errorf("a second try: %v", err)
	}
	now = now.Add(time.Hour)
	id, nonce, err = start(0, "10.0.0.1")
	for range 2 { // the first answer may be lost
		if err == nil {
			err = p.Reveal(t.Context(), id, nonce)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	code, _ := p.open[id].facts.NewCode()
	twin := *p.open[id]
	twin.id = "twin"
	p.open["twin"] = &twin
	if _, err := p.Confirm(t.Context(), code); entropy.ErrorCode(err) != entropy.CodeConflict || len(p.open) > 0 {
		t.Errorf("two with one check: %v, %d wait", err, len(p.open))
	}
	for name, r := range map[string]entropy.PairRequest{
		"name": {Worker: "a b"}, "host": {Worker: "w", Hostname: "h\x1b[2J"}, "long host": {Worker: "w", Hostname: strings.Repeat("h", 256)},
		"key": {Worker: "w", Commitment: strings.Repeat("ab", 32)}, "commitment": {Worker: "w", KeyHash: strings.Repeat("ab", 32), Commitment: "AB"},
	} {
		if _, err := p.Start(t.Context(), r, "10.0.0.2"); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
}

// proves C-1: of two clusters that are heard none is taken, and both are named
func TestTwoClustersHeard(t *testing.T) {
	a, b := discovery.Found{URL: "https://10.0.0.1:7600", Node: "lab-a", Pin: [32]byte{1}}, discovery.Found{URL: "https://10.0.0.2:7600", Node: "lab-b", Pin: [32]byte{2}}
	if f, err := only([]discovery.Found{a}); err != nil || f != a {
		t.Error(f, err)
	}
	_, err := only([]discovery.Found{a, b})
	for _, says := range []string{a.URL, b.URL, "lab-a", "lab-b", "2 clusters", "--join"} {
		if entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), says) {
			t.Errorf("%v lacks %q", err, says)
		}
	}
}
