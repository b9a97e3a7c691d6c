// Package twohosts tests the script of this folder.
package twohosts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// proves C-1, C-4: the script does what it says.
func TestTwoHosts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if out, err := exec.Command("ip", "netns", "list").CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v %s", err, out)
	}
	program := filepath.Join(t.TempDir(), "entropy")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/entropy-fabric/entropy/cmd/entropy").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	script := exec.CommandContext(ctx, "./two-hosts.sh", program)
	script.Cancel = func() error { return script.Process.Signal(os.Interrupt) } // it cleans up
	script.WaitDelay = 10 * time.Second
	out, err := script.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "== done") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
