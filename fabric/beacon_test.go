package fabric

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// texts collects every string in a JSON value, and what it decodes to.
func texts(v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			texts(x, out)
		}
	case []any:
		for _, x := range v {
			texts(x, out)
		}
	case string:
		out[v] = true
		if b, err := hex.DecodeString(v); err == nil {
			out[string(b)] = true
		}
		if b, err := base64.RawURLEncoding.DecodeString(v); err == nil {
			out[string(b)] = true
		}
	}
}

// proves S-2: whoever reads the journal's events learns nothing by which a question
// of discovery could be asked or answered; the control plane knows the keys of all
// join tokens, after a restart too, and of no token that is revoked
func TestEventsHoldNoBeaconKey(t *testing.T) {
	dir := t.TempDir()
	open := func() *Control {
		c, err := OpenControl(t.Context(), ControlConfig{DataDir: dir, Listen: "127.0.0.1:0", Gossip: GossipConfig{Off: true}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	made, err := c.tokens.Create(t.Context(), entropy.TokenSpec{Role: entropy.RoleJoin})
	if err != nil {
		t.Fatal(err)
	}
	first, err := identity.ReadSecretFile(filepath.Join(dir, WorkerTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = open()
	defer func() { c.Close() }()
	page, err := c.system.Events(t.Context(), entropy.EventFilter{})
	if err != nil || len(page.Events) < 3 {
		t.Fatal(page, err)
	}
	said := map[string]bool{}
	for _, e := range page.Events {
		var v any
		if err := json.Unmarshal(e.Attrs, &v); err != nil {
			t.Fatal(err)
		}
		texts(v, said)
	}
	for name, token := range map[string]string{"made": made.Token, "first": first} {
		key, err := identity.BeaconKey(token)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.discoveryKeys()(discovery.IDOf(key)); !bytes.Equal(got, key) {
			t.Errorf("%s: the control plane has the key %x, want %x", name, got, key)
		}
		for s := range said {
			if s == string(key) || len(s) >= 16 && bytes.Equal(identity.Derive([]byte(s), discoveryKey), key) {
				t.Errorf("%s: its key is in an event, or derived from %q", name, s)
			}
		}
	}
	rotated, err := c.tokens.Rotate(t.Context(), made.ID, entropy.TokenRotation{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = open()
	for name, token := range map[string]string{"old": made.Token, "new": rotated.Token} {
		if key, err := identity.BeaconKey(token); err != nil || !bytes.Equal(c.discoveryKeys()(discovery.IDOf(key)), key) {
			t.Errorf("rotated: the key of the %s secret is not known: %v", name, err)
		}
	}
	if _, err := c.tokens.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	key, err := identity.BeaconKey(made.Token)
	if err != nil || c.discoveryKeys()(discovery.IDOf(key)) != nil {
		t.Errorf("revoked, its questions are answered: %v", err)
	}
	c.Close()
	if err := os.Remove(filepath.Join(dir, identity.SealKeyFile)); err != nil {
		t.Fatal(err)
	}
	c = open() // without the sealer's key all goes on; the file of the first token tells its key
	key, err = identity.BeaconKey(first)
	if err != nil || !bytes.Equal(c.discoveryKeys()(discovery.IDOf(key)), key) || !strings.HasPrefix(first, "ent1.") {
		t.Errorf("the first token's key is not known: %v", err)
	}
}
