// Package executorpython tests the executor of this directory.
package executorpython

import (
	"os/exec"
	"testing"

	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// proves A-3: an executor with nothing but Python's standard library keeps the
// protocol of docs/PROTOCOL.md.
func TestConformance(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("not checked: there is no python3; as root, scripts/setup installs it")
	}
	if err := exec.Command(python, "-c", "import sys; sys.exit(sys.version_info < (3, 8))").Run(); err != nil {
		t.Skip("not checked: python3 is older than 3.8")
	}
	executortest.Conformance(t, func() *exec.Cmd { return exec.Command(python, "-B", "executor.py") })
}
