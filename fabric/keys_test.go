package fabric_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

func ringOf(t *testing.T, dir string) identity.Keyring {
	t.Helper()
	k, err := identity.LoadKeyring(filepath.Join(dir, identity.ClusterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// joinGossip has a node of its own join the lab's gossip with a keyring's keys.
func (l *lab) joinGossip(k identity.Keyring) error {
	l.t.Helper()
	c := l.client()
	status, err := c.Status(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	all, err := c.Members(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	i := slices.IndexFunc(all.Members, func(m entropy.Member) bool { return m.Self })
	m, err := cluster.Open(cluster.Config{Node: cluster.Node{ID: "guest", Name: "guest", Role: "guest"}, ClusterID: status.ClusterID, Keys: k.Derive("gossip"),
		Profile: cluster.Fast, Listen: "127.0.0.1:0"})
	if err != nil {
		l.t.Fatal(err)
	}
	defer m.Leave()
	return m.Join(context.Background(), all.Members[i].Address)
}

// proves C-2: the members' key is replaced by a command while work goes on: nobody
// is missed, each step is on disk before it is made, the control plane's crash in
// the middle only delays it, a worker that was away gets the key when it comes
// back, and a node that holds only the old key is refused
func TestKeyRotation(t *testing.T) {
	t.Setenv("PROFILE", "fast")
	l := newLab(t, 15*time.Second)
	stay, away := l.worker("stay", 1), l.worker("away", 1)
	alive := func(name string) func() bool {
		return func() bool { return l.member(name, entropy.MemberAlive) && l.workerState(name) == entropy.WorkerAlive }
	}
	eventually(t, 20*time.Second, alive("stay"), func() string { return "stay is no member" })
	eventually(t, 20*time.Second, alive("away"), func() string { return "away is no member" })
	old := ringOf(t, l.path("control"))
	if err := l.joinGossip(old); err != nil {
		t.Fatalf("with the key of the moment: %v", err)
	}
	away.killAll()
	eventually(t, 20*time.Second, func() bool { return l.workerState("away") == entropy.WorkerLost }, func() string { return "away is not lost" })

	start, err := l.client().RotateKey(t.Context())
	if err != nil || start.Stage != entropy.KeysInstalled || start.StartedBy == "" || start.Until == nil {
		t.Fatalf("%+v %v", start, err)
	}
	again, err := l.client().RotateKey(t.Context())
	if err != nil || !again.StartedAt.Equal(*start.StartedAt) {
		t.Errorf("while one is under way: %+v %v", again, err)
	}
	l.ctl.kill()
	if k := ringOf(t, l.path("control")); k.Stage() == entropy.KeysSettled && k.Version == old.Version {
		t.Error("a step was told before it was on disk")
	}
	l.startControl()
	var end entropy.KeyRotation
	eventually(t, 50*time.Second, func() bool {
		end, err = l.client().KeyRotation(t.Context())
		return err == nil && end.Stage == entropy.KeysSettled
	}, func() string { return "the rotation does not end" })
	fresh := ringOf(t, l.path("control"))
	if end.Version != old.Version+3 || len(end.Behind) > 0 || len(fresh.Keys) != 1 || slices.Equal(fresh.Keys[0], old.Keys[0]) {
		t.Errorf("%+v", end)
	}
	if err := l.joinGossip(old); err == nil {
		t.Error("a node that holds only the old key joined")
	}
	if err := l.joinGossip(fresh); err != nil {
		t.Errorf("with the fresh key: %v", err)
	}
	away.startAgent()
	eventually(t, 20*time.Second, alive("away"), func() string { return "away is no member after it came back" })
	eventually(t, 20*time.Second, func() bool {
		return ringOf(t, away.dir()).Shared() == fresh.Shared() && ringOf(t, stay.dir()).Shared() == fresh.Shared()
	},
		func() string { return "the workers do not hold the fresh key alone" })
	eventually(t, 20*time.Second, alive("stay"), func() string { return "stay is no member at the end" })

	page, err := l.client().Events(t.Context(), entropy.EventFilter{Entity: entropy.Entity(entropy.KindWorker, "stay"), Type: entropy.WorkerWentLost})
	if err != nil || len(page.Events) > 0 {
		t.Errorf("stay was lost: %+v %v", page.Events, err)
	}
	page, err = l.client().Events(t.Context(), entropy.EventFilter{Type: "keyring."})
	if err != nil || len(page.Events) != 2 || page.Events[0].Type != entropy.KeyRotationStarted || page.Events[1].Type != entropy.KeysRotated {
		t.Errorf("in the journal: %+v %v", page.Events, err)
	}
	l.ctl.kill()
	if report, err := journal.VerifyFile(t.Context(), filepath.Join(l.path("control"), fabric.JournalFile)); err != nil || len(report.Problems) > 0 {
		t.Errorf("the journal: %v %v", report, err)
	}
}

// proves C-2: a live worker that does not confirm holds a rotation up for a while
// only, and is named
func TestKeyRotationGoesOnWithout(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	fabric.SetKeyGrace(c, 300*time.Millisecond)
	key := workerKey(t, "mute")
	mute := dialTo(t, c.URL(), entropy.ClientConfig{Token: secret(t, c, fabric.WorkerTokenFile), WorkerKey: key})
	if _, err := mute.Register(t.Context(), entropy.Registration{Nonce: "n", BootID: "b", SpoolID: "s", Slots: 1, KeyHash: identity.Hash(key)}); err != nil {
		t.Fatal(err)
	}
	admin := adminOf(t, c)
	first, err := admin.RotateKey(t.Context())
	if err != nil || !slices.Equal(first.Waiting, []entropy.WorkerID{"mute"}) || first.Behind == nil {
		t.Fatalf("%+v %v", first, err)
	}
	var end entropy.KeyRotation
	eventually(t, 20*time.Second, func() bool {
		end, err = admin.KeyRotation(t.Context())
		return err == nil && end.Stage == entropy.KeysSettled
	}, func() string { return "the rotation does not end" })
	if !slices.Equal(end.Behind, []entropy.WorkerID{"mute"}) {
		t.Errorf("%+v", end)
	}
	joined, err := mute.Join(t.Context(), entropy.JoinRequest{})
	if err != nil || joined.ClusterKey != c.Keyring().Shared() {
		t.Errorf("afterwards it is given %q, %v", joined.ClusterKey, err)
	}
}

// proves S-2, C-2: a worker whose key was revoked is shut out at once, with a token
// too, and over a restart; it is told so, is not given the fresh key, and holds up
// no rotation for longer than it counts as alive
func TestRevokedWorker(t *testing.T) {
	t.Setenv("PROFILE", "fast")
	l := newLab(t, 3*time.Second)
	stay, gone := l.worker("stay", 1), l.worker("gone", 1)
	for _, name := range []string{"stay", "gone"} {
		eventually(t, 20*time.Second, func() bool { return l.workerState(name) == entropy.WorkerAlive }, func() string { return name + " does not register" })
	}
	revoked, err := l.client().RevokeWorker(t.Context(), "gone")
	if err != nil || revoked.WorkerID != "gone" {
		t.Fatalf("%+v %v", revoked, err)
	}
	if _, err := l.client().RevokeWorker(t.Context(), "gone"); err != nil {
		t.Errorf("again: %v", err)
	}
	_, err = l.client().RevokeWorker(t.Context(), "nobody")
	hinted(t, err, entropy.CodeNotFound)
	key, err := identity.ReadSecretFile(filepath.Join(gone.dir(), identity.WorkerKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	token, err := identity.ReadSecretFile(filepath.Join(l.path("control"), fabric.WorkerTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		for with, conf := range map[string]entropy.ClientConfig{"its key": {WorkerKey: key}, "a token": {WorkerKey: key, Token: token}} {
			_, err := dialTo(t, l.url, conf).Join(t.Context(), entropy.JoinRequest{})
			if code := entropy.ErrorCode(err); code != entropy.CodeUnauthorized && code != entropy.CodeForbidden || !strings.Contains(err.Error(), "was revoked") {
				t.Errorf("%s, with %s: %v", when, with, err)
			}
		}
	}
	refused("at once")
	eventually(t, 20*time.Second, func() bool { return l.workerState("gone") == entropy.WorkerLost }, func() string { return "it is not lost" })
	l.ctl.kill()
	l.startControl()
	refused("after a restart")
	if _, err := l.client().RotateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 50*time.Second, func() bool {
		r, err := l.client().KeyRotation(t.Context())
		return err == nil && r.Stage == entropy.KeysSettled && ringOf(t, stay.dir()).Shared() == ringOf(t, l.path("control")).Shared()
	}, func() string { return "the rotation does not end" })
	if k := ringOf(t, gone.dir()); k.Version != 1 || l.joinGossip(k) == nil {
		t.Errorf("it holds keyring %d, with which one may join", k.Version)
	}
	l.ctl.kill()
	if report, err := journal.VerifyFile(t.Context(), filepath.Join(l.path("control"), fabric.JournalFile)); err != nil || len(report.Problems) > 0 {
		t.Errorf("the journal: %v %v", report, err)
	}
}
