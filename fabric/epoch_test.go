package fabric_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// proves H-8: a control plane that learns of a higher epoch acknowledges nothing
// more, stops, and does not start again; its history is kept. A caller without a
// credential cannot stop it.
func TestSupersededControlPlaneStops(t *testing.T) {
	dir := t.TempDir()
	open := func() (*fabric.Control, error) {
		return fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	}
	c, err := open()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	client := func(token string, epoch uint64) *entropy.Client {
		cl, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: token, Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return cl
	}
	admin := secret(t, c, fabric.AdminTokenFile)
	submit := func(cl *entropy.Client) error {
		r, err := cl.Submit(context.Background(), []entropy.Submission{{Spec: entropy.JobSpec{Command: []string{"true"}}}})
		if err == nil && r[0].Error != nil {
			err = r[0].Error
		}
		return err
	}
	if err := submit(client("stranger", 9)); err == nil {
		t.Fatal("a stranger was heard")
	}
	if err := submit(client(admin, 1)); err != nil {
		t.Fatal(err)
	}
	if err := submit(client(admin, 9)); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Fatalf("a caller that has seen epoch 9: %v", err)
	}
	select {
	case err := <-done:
		if entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), "epoch 9") {
			t.Errorf("stopped with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	if _, err := open(); entropy.ErrorCode(err) != entropy.CodeConflict || entropy.AsError(err).Hint == "" {
		t.Fatalf("started again: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, fabric.SupersededFile)); err != nil {
		t.Fatal(err)
	}
	c, err = open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	page, err := c.Service().Jobs(context.Background(), entropy.JobFilter{})
	if err != nil || len(page.Jobs) != 1 {
		t.Errorf("%d jobs, %v", len(page.Jobs), err)
	}
}
