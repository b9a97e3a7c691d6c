package containertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// Podman makes podman ready for a test and for the processes it starts, with an
// empty store but for [Image]. It skips the test where podman is not installed,
// or runs no container at all, and says why.
func Podman(t testing.TB) *container.Runtime {
	t.Helper()
	if _, err := exec.LookPath(container.Podman); err != nil {
		t.Skip("not checked: podman is not installed (scripts/setup installs it as root)")
	}
	dir, err := os.MkdirTemp("", "entropybox") // t.TempDir is removed before the containers are
	if err != nil {
		t.Fatal(err)
	}
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/store", dir+"/run")
	mustWrite(t, dir+"/storage.conf", storage)
	t.Setenv("CONTAINERS_STORAGE_CONF", dir+"/storage.conf")
	t.Setenv("CONTAINERS_CONF", dir+"/containers.conf")
	t.Cleanup(func() {
		_, _ = command(container.Podman, "rm", "--force", "--all") // what stays is seen by the removal
		_, _ = command(container.Podman, "image", "rm", "--force", "--all")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	root, err := writeRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for _, oci := range []string{"", "crun", "runc"} {
		mustWrite(t, dir+"/containers.conf", conf(oci))
		if last, err = command(container.Podman, "import", "--change", ownCommand, root, Image); err != nil {
			continue
		}
		if last, err = command(container.Podman, "run", "--rm", "--network=host", "--pull=never", Image, "/box", "exit", "0"); err == nil {
			break
		}
	}
	if err != nil {
		t.Skipf("not checked: podman runs no container on this machine: %s", last)
	}
	return find(t, container.Podman)
}

func find(t testing.TB, kind string) *container.Runtime {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := container.Find(ctx, kind, nil, container.Command)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// conf is podman's configuration: limits that a process without privileges can
// keep, and an OCI runtime that the machine's control groups suit.
func conf(oci string) string {
	var files, procs unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil || unix.Getrlimit(unix.RLIMIT_NPROC, &procs) != nil {
		files.Max, procs.Max = 1024, 1024
	}
	limit := func(n uint64) int64 { return int64(min(n, 4096)) }
	text := fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%[1]d:%[1]d\", \"nproc=%[2]d:%[2]d\"]\n[engine]\nevents_logger = \"none\"\ncgroup_manager = \"cgroupfs\"\n",
		limit(files.Max), limit(procs.Max))
	if oci != "" {
		text += fmt.Sprintf("runtime = %q\n", oci)
	}
	return text
}

func mustWrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
