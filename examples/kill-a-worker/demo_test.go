package main

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// build compiles programs of this module into a directory.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// proves the whole of make demo on a smaller batch: W-4, W-5, P-1, J-4, L-7.
// The program itself fails on any deviation.
func TestTheDemonstration(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts four processes and a batch")
	}
	bin := t.TempDir()
	build(t, bin, "github.com/entropy-fabric/entropy/cmd/entropy", ".", "./prove")
	var out bytes.Buffer
	demo := exec.Command(filepath.Join(bin, "kill-a-worker"), "-jobs", "100", "-timeout", "2m")
	demo.Stdout, demo.Stderr = &out, &out
	demo.Env = append(demo.Environ(), "TMPDIR="+t.TempDir())
	if err := demo.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"jobs that succeeded, each exactly once        100\n", "PROVED"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the output:\n%s", want, out.String())
		}
	}
}

// proves that the link is a cable: it carries both ways, breaks what is under
// way when it is cut, refuses what comes after, and carries again when mended.
func TestTheLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	k, err := newLink(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	address := strings.TrimPrefix(k.url(), "http://")
	call := func() (net.Conn, error) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("x"))
		_, err = io.ReadFull(c, make([]byte, 1))
		return c, err
	}
	c, err := call()
	if err != nil {
		t.Fatalf("nothing comes back: %v", err)
	}
	k.cut()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection survives the cut")
	}
	if _, err := call(); err == nil {
		t.Error("a connection is carried over a cut cable")
	}
	k.mend()
	if _, err := call(); err != nil {
		t.Errorf("mended, it carries nothing: %v", err)
	}
}

// proves that killing one machine takes its processes only, however they are
// recognized.
func TestWhatBelongsToAMachine(t *testing.T) {
	all := []process{
		{pid: 10, parent: 1, command: "entropy worker --data /d/lab-1 --token-file /d/join.token"},
		{pid: 11, parent: 1, command: "entropy worker --data /d/lab-10"},
		{pid: 12, parent: 1, dir: "/d/lab-1/scratch/a"},
		{pid: 13, parent: 10, command: "sh -c whatever"},
		{pid: 14, parent: 13, command: "sha256sum"},
		{pid: 15, parent: 1, environ: "PATH=/bin\x00ENTROPY_ARTIFACT_DIR=/d/lab-1/x\x00"},
		{pid: 16, parent: 1, environ: "A=/d/lab-12\x00", dir: "/d/lab-100"},
	}
	var got []int
	for _, p := range below(all, "/d/lab-1") {
		got = append(got, p.pid)
	}
	want := []int{10, 12, 13, 14, 15}
	if len(got) != len(want) {
		t.Fatalf("took %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("took %v, want %v", got, want)
		}
	}
}
