// Package executornode tests the executor of this directory.
package executornode

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// proves A-3: an executor with the official client for Node.js keeps the protocol
// of docs/PROTOCOL.md.
func TestConformance(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not checked: there is no %s; as root, scripts/setup installs it", tool)
		}
	}
	if err := exec.Command("node", "-e", "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)").Run(); err != nil {
		t.Skip("not checked: node is older than 20")
	}
	dir := install(t)
	executortest.Conformance(t, func() *exec.Cmd {
		cmd := exec.Command("node", "executor.mjs")
		cmd.Dir = dir
		return cmd
	})
}

// install copies the program and installs what it needs, exactly as locked, beside
// the copy: the source tree stays clean.
func install(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "executor.mjs"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, done := context.WithTimeout(t.Context(), 3*time.Minute)
	defer done()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("not checked: npm could not install the client: %v\n%.500s", err, out)
	}
	return dir
}
