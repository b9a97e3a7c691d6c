package identity_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// proves C-2: a rotation takes three steps, in each of which every member of the
// step before and the step after understand each other; the disk keeps each, and
// members are not told what is retired
func TestKeyringRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), identity.ClusterKeyFile)
	k, err := identity.LoadOrCreateKeyring(path)
	if err != nil || k.Stage() != entropy.KeysSettled {
		t.Fatal(k.Version, err)
	}
	accepts := func(k identity.Keyring, key []byte) bool {
		for _, own := range k.Keys {
			if bytes.Equal(own, key) {
				return true
			}
		}
		return false
	}
	first := k.Keys[0]
	for i := range 30 {
		next := k.Next()
		if !accepts(k, next.Keys[0]) || !accepts(next, k.Keys[0]) || next.Version != k.Version+1 {
			t.Fatalf("step %d: two stages do not understand each other", i)
		}
		if err := identity.SaveKeyring(path, next); err != nil {
			t.Fatal(err)
		}
		again, err := identity.LoadKeyring(path)
		shared, err2 := identity.ParseKeyring(next.Shared())
		if err != nil || err2 != nil || again.Shared() != next.Shared() || shared.Shared() != next.Shared() || len(again.Retired) != len(next.Retired) || len(shared.Retired) != 0 {
			t.Fatalf("step %d: %v %v, %d retired on disk, %d shared", i, err, err2, len(again.Retired), len(shared.Retired))
		}
		k = again
	}
	if k.Stage() != entropy.KeysSettled || accepts(k, first) || len(k.Retired) != 8 {
		t.Errorf("after ten rotations: %s, %d retired", k.Stage(), len(k.Retired))
	}
}

// proves C-2: the key file of an earlier release is the first keyring; a damaged one
// is refused and not made anew, and the error repeats nothing of it
func TestKeyringOnDisk(t *testing.T) {
	dir := t.TempDir()
	old := strings.Repeat("QUJD", 10) + "QUE"
	path := filepath.Join(dir, identity.ClusterKeyFile)
	if err := identity.WriteSecretFile(path, old); err != nil {
		t.Fatal(err)
	}
	k, err := identity.LoadOrCreateKeyring(path)
	if err != nil || k.Version != 1 || k.Shared() != old {
		t.Errorf("%d %v", k.Version, err)
	}
	for _, bad := range []string{"short", old[:42], old + "," + old, "1." + old + "," + old, "2." + old, "2." + old + "," + old, "0." + old, "x." + old, "4." + old + "." + old + ".", old + "."} {
		if err := identity.WriteSecretFile(path, bad); err != nil {
			t.Fatal(err)
		}
		_, err := identity.LoadOrCreateKeyring(path)
		if entropy.ErrorCode(err) != entropy.CodeInvalid || entropy.AsError(err).Hint == "" || strings.Contains(err.Error(), old[:10]) {
			t.Errorf("%q: %v", bad, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != bad+"\n" {
			t.Errorf("%q became %q %v", bad, b, err)
		}
	}
	if _, err := identity.LoadKeyring(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// proves S-2: what is sealed opens with the same key and name only
func TestSealer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, identity.SealKeyFile)
	s, err := identity.OpenSealer(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.Seal("t1", []byte("a secret"))
	s, err = identity.OpenSealer(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Open("t1", sealed); err != nil || string(b) != "a secret" || strings.Contains(sealed, "secret") {
		t.Errorf("%q %v", b, err)
	}
	other, err := identity.OpenSealer(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"name": func() ([]byte, error) { return s.Open("t2", sealed) }, "key": func() ([]byte, error) { return other.Open("t1", sealed) },
		"text": func() ([]byte, error) { return s.Open("t1", "A"+sealed[1:]+"A") }, "nothing": func() ([]byte, error) { return s.Open("t1", "") },
	} {
		if _, err := open(); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("another %s: %v", name, err)
		}
	}
}
