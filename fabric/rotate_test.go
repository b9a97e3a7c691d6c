package fabric_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

// follow opens the stream of events with a token and returns a channel that has
// when it ended.
func follow(t *testing.T, c *fabric.Control, token string) <-chan time.Time {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/v1/events?latest=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	closed := make(chan time.Time, 1)
	go func() {
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body) // however it ends
		closed <- time.Now()
	}()
	return closed
}

func ended(t *testing.T, closed <-chan time.Time, after time.Time) {
	t.Helper()
	select {
	case at := <-closed:
		if took := at.Sub(after); took < -50*time.Millisecond || took > time.Second {
			t.Errorf("the stream ended %s after its secret", took)
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream goes on")
	}
}

// proves S-2: a rotated token has two secrets that are good, for the overlap, over a
// restart too; then the old one is refused by name and its streams end within a
// second; a revocation ends both; the token file has the new one
func TestRotatedToken(t *testing.T) {
	dir := t.TempDir()
	c, stop := startControl(t, fabric.ControlConfig{DataDir: dir})
	old := secret(t, c, fabric.AdminTokenFile)
	oldClient := adminOf(t, c)
	all, err := oldClient.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := all[0].ID
	_, err = oldClient.RotateToken(t.Context(), id, entropy.TokenRotation{Overlap: entropy.Duration(time.Millisecond)})
	hinted(t, err, entropy.CodeInvalid)
	_, err = oldClient.RotateToken(t.Context(), "nobody", entropy.TokenRotation{})
	hinted(t, err, entropy.CodeNotFound)
	next, err := oldClient.RotateToken(t.Context(), id, entropy.TokenRotation{Overlap: entropy.Duration(4 * time.Second)})
	if err != nil || next.FormerUntil == nil || next.ID != id {
		t.Fatalf("%+v %v", next, err)
	}
	if got := secret(t, c, fabric.AdminTokenFile); got != next.Token || got == old {
		t.Error("admin.token does not hold the new secret")
	}
	_, err = oldClient.RotateToken(t.Context(), id, entropy.TokenRotation{})
	hinted(t, err, entropy.CodeConflict)
	stop()
	c, stop = startControl(t, fabric.ControlConfig{DataDir: dir})
	stream := follow(t, c, old)
	oldClient, newClient := dialTo(t, c.URL(), entropy.ClientConfig{Token: old}), adminOf(t, c)
	for name, cl := range map[string]*entropy.Client{"old": oldClient, "new": newClient} {
		if _, err := cl.Status(t.Context()); err != nil && time.Now().Before(*next.FormerUntil) {
			t.Errorf("the %s secret within the overlap: %v", name, err)
		}
	}
	ended(t, stream, *next.FormerUntil)
	_, err = oldClient.Status(t.Context())
	if hinted(t, err, entropy.CodeUnauthorized); !strings.Contains(err.Error(), "was rotated") {
		t.Error(err)
	}
	again, err := newClient.RotateToken(t.Context(), id, entropy.TokenRotation{}) // the overlap is over
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newClient.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleAdmin}); err != nil { // the last one stays
		t.Fatal(err)
	}
	formerStream, newStream := follow(t, c, next.Token), follow(t, c, again.Token)
	if _, err := newClient.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	ended(t, formerStream, revoked)
	ended(t, newStream, revoked)
	stop()
	if report, err := journal.VerifyFile(t.Context(), filepath.Join(dir, fabric.JournalFile)); err != nil || len(report.Problems) > 0 {
		t.Errorf("the journal: %v %v", report, err)
	}
}

// proves S-2: a rotation sets an end to the streams that were open before it
func TestRotationEndsOpenStreams(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	admin := adminOf(t, c)
	made, err := admin.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	stream := follow(t, c, made.Token)
	next, err := admin.RotateToken(t.Context(), made.ID, entropy.TokenRotation{Overlap: entropy.Duration(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	ended(t, stream, *next.FormerUntil)
}
