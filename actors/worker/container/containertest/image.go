// Package containertest gives tests a container runtime: podman or docker with a
// small image ([Each]), or a program that plays docker and its failures ([Fake]).
package containertest

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// Image is what [Podman] and [Docker] make. Its program /box does what its
// arguments say; see testdata/box. Its own command prints "own".
const Image = "localhost/entropy-box:1"

const ownCommand = `CMD ["/box","print","own"]`

// Each runs a test with every runtime that there is. Those that there are not
// are skipped, with the reason.
func Each(t *testing.T, f func(t *testing.T, r *container.Runtime)) {
	t.Helper()
	for kind, ready := range map[string]func(testing.TB) *container.Runtime{container.Podman: Podman, container.Docker: Docker} {
		t.Run(kind, func(t *testing.T) { f(t, ready(t)) })
	}
}

// Docker makes the machine's docker ready for a test: [Image] is there until the
// test ends. It skips the test where no daemon answers.
func Docker(t testing.TB) *container.Runtime {
	t.Helper()
	if out, err := command(container.Docker, "info"); err != nil {
		t.Skip("not checked: docker does not answer on this machine: " + container.LastLine(out))
	}
	dir := t.TempDir()
	root, err := writeRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command(container.Docker, "import", "--change", ownCommand, root, Image); err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() {
		if out, err := command(container.Docker, "image", "rm", "--force", Image); err != nil {
			t.Error(out)
		}
	})
	return find(t, container.Docker)
}

// List returns the names of the containers of workers that a runtime knows,
// stopped ones as well.
func List(t testing.TB, r *container.Runtime) []string {
	t.Helper()
	out, err := command(r.Program, "ps", "--all", "--filter", "label="+container.LabelSpool, "--format", "{{.Names}}")
	if err != nil {
		t.Fatal(out)
	}
	return strings.Fields(out)
}

func command(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// writeRoot writes the root file system of the image, as a tar file in dir.
func writeRoot(dir string) (string, error) {
	where, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/entropy-fabric/entropy/actors/worker/container/containertest").Output()
	if err != nil {
		return "", fmt.Errorf("find the image's program: %w", err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/box", ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(where)), "testdata", "box")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the image's program: %w: %s", err, out)
	}
	path := filepath.Join(dir, "root.tar")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return path, packRoot(f, dir+"/box")
}

func packRoot(to io.Writer, program string) error {
	w := tar.NewWriter(to)
	for _, d := range []string{"dev/", "etc/", "proc/", "sys/", "tmp/", "run/"} {
		if err := w.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
	}
	box, err := os.Open(program)
	if err != nil {
		return err
	}
	defer box.Close()
	fi, err := box.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: "box", Mode: 0o755, Size: fi.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(w, box); err != nil {
		return err
	}
	return w.Close()
}
