package identity_test

import (
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

var aPairing = identity.Pairing{ClusterID: "c1", CAPin: strings.Repeat("ab", 32), Worker: "w1", KeyHash: strings.Repeat("cd", 32),
	WorkerNonce: strings.Repeat("01", 32), ControlNonce: strings.Repeat("02", 32)}

// proves C-1: whatever somebody in the middle changes, the two sides differ in the
// code's first half and in the proof; a proof is of one secret only
func TestPairingBindsEverything(t *testing.T) {
	for name, edit := range map[string]func(*identity.Pairing){
		"cluster": func(p *identity.Pairing) { p.ClusterID = "c2" }, "authority": func(p *identity.Pairing) { p.CAPin = strings.Repeat("ac", 32) },
		"name": func(p *identity.Pairing) { p.Worker = "w2" }, "key": func(p *identity.Pairing) { p.KeyHash = strings.Repeat("ce", 32) },
		"worker's nonce":  func(p *identity.Pairing) { p.WorkerNonce = strings.Repeat("03", 32) },
		"control's nonce": func(p *identity.Pairing) { p.ControlNonce = strings.Repeat("03", 32) },
		"border":          func(p *identity.Pairing) { p.ClusterID, p.CAPin = p.ClusterID+p.CAPin[:1], p.CAPin[1:] },
	} {
		other := aPairing
		edit(&other)
		if other.Check() == aPairing.Check() || other.Proves("AAAAA", aPairing.Proof("AAAAA")) {
			t.Errorf("another %s makes no difference", name)
		}
	}
	if !aPairing.Proves("AAAAA", aPairing.Proof("AAAAA")) || aPairing.Proves("AAAAB", aPairing.Proof("AAAAA")) || aPairing.Proves("AAAAA", "") {
		t.Error("a proof is not of its secret")
	}
	if n := identity.NewNonce(); !identity.Opens(identity.Commit(n), n) || identity.Opens(identity.Commit(n), identity.NewNonce()) || identity.Opens(identity.Commit("x"), "x") {
		t.Error("a commitment is not of its nonce")
	}
}

// proves C-1: a code is read as people type it, and a typing error is told
func TestPairingCode(t *testing.T) {
	code, secret := aPairing.NewCode()
	if again, _ := aPairing.NewCode(); again == code || again[:5] != code[:5] || code[:5] != aPairing.Check() {
		t.Errorf("%s and %s", code, again)
	}
	for _, text := range []string{code, strings.ToLower(code), strings.ReplaceAll(code, "-", " "), strings.NewReplacer("0", "o", "1", "l").Replace(code), " " + code} {
		if check, s, err := identity.ParseCode(text); err != nil || check != aPairing.Check() || s != secret {
			t.Errorf("%q: %s %s %v", text, check, s, err)
		}
	}
	typos, found := 0, 0
	for i := range code {
		for _, c := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
			if code[i] == '-' || rune(code[i]) == c {
				continue
			}
			typos++
			if _, _, err := identity.ParseCode(code[:i] + string(c) + code[i+1:]); entropy.ErrorCode(err) == entropy.CodeInvalid {
				found++
			}
		}
	}
	if found*100 < typos*90 {
		t.Errorf("%d of %d typing errors are told", found, typos)
	}
	for _, bad := range []string{"", "K7QX2", code + "0", strings.Repeat("A", 1<<16), "K7QX2-9MFTU3", "é7QX2-9MFTB3"} {
		_, _, err := identity.ParseCode(bad)
		if entropy.ErrorCode(err) != entropy.CodeInvalid || entropy.AsError(err).Hint == "" {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
