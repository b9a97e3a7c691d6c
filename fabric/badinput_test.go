package fabric_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

// proves L-5, C-3: the second of two nodes with one name is refused, with the host
// that has it and what to do; the first goes on.
func TestTwoNodesOneName(t *testing.T) {
	c := openControl(t)
	register := func(host, key string) error {
		cl := dialTo(t, c.URL(), entropy.ClientConfig{Token: secret(t, c, fabric.WorkerTokenFile), WorkerKey: key})
		if _, err := cl.Join(t.Context(), entropy.JoinRequest{Hostname: host}); err != nil {
			return err
		}
		_, err := cl.Register(t.Context(), entropy.Registration{Nonce: entropy.NewID(), BootID: "boot of " + host, SpoolID: "s", Slots: 1, Hostname: host, KeyHash: identity.Hash(key)})
		return err
	}
	first := workerKey(t, "raspberrypi")
	if err := register("attic", first); err != nil {
		t.Fatal(err)
	}
	err := register("cellar", workerKey(t, "raspberrypi"))
	hinted(t, err, entropy.CodeConflict)
	for _, says := range []string{"raspberrypi", "attic", "--name"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v lacks %q", err, says)
		}
	}
	if err := register("attic", first); err != nil {
		t.Errorf("the first: %v", err)
	}
}

// hinted fails unless err has the code, and a hint that says what to do next.
func hinted(t *testing.T, err error, code entropy.Code) {
	t.Helper()
	if entropy.ErrorCode(err) != code || entropy.AsError(err).Hint == "" {
		t.Errorf("got %q (code %q), want code %q and a hint", err, entropy.ErrorCode(err), code)
	}
}

// proves P-6: a second control plane on the data directory is refused, and the
// first goes on.
func TestSecondControl(t *testing.T) {
	c := openControl(t)
	_, err := fabric.OpenControl(context.Background(), fabric.ControlConfig{DataDir: c.DataDir(), Listen: "127.0.0.1:0"})
	hinted(t, err, entropy.CodeConflict)
	if _, err := c.Service().Status(context.Background()); err != nil {
		t.Errorf("the first control plane: %v", err)
	}
}

// A port that is taken is refused before anything is touched.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := filepath.Join(t.TempDir(), "data")
	_, err = fabric.OpenControl(context.Background(), fabric.ControlConfig{DataDir: dir, Listen: taken.Addr().String()})
	hinted(t, err, entropy.CodeUnavailable)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory was touched: %v", err)
	}
}

// proves S-2: a token with one byte off opens nothing, and says so.
func TestTokenOneByteOff(t *testing.T) {
	c := openControl(t)
	good := secret(t, c, fabric.AdminTokenFile)
	for i := range len(good) {
		bad := []byte(good)
		bad[i] ^= 1
		if strings.ContainsAny(string(bad[i]), " \n") {
			continue
		}
		req, _ := http.NewRequest(http.MethodGet, c.URL()+"/v1/jobs", nil)
		req.Header.Set("Authorization", "Bearer "+string(bad))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("byte %d off: status %d", i, resp.StatusCode)
		}
	}
}

// A worker that is pointed at something else says what it found.
func TestWorkerAtWrongPort(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>printer</html>") }))
	defer other.Close()
	c := openControl(t)
	said := &lines{seen: make(chan string, 100)}
	w, err := fabric.OpenWorker(context.Background(), fabric.WorkerConfig{DataDir: t.TempDir(), Server: other.URL, Name: "lost",
		TokenFile: filepath.Join(c.DataDir(), fabric.WorkerTokenFile), SupervisorCommand: []string{os.Args[0], "supervisor"},
		Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); <-done }()
	limit := time.After(30 * time.Second)
	for {
		select {
		case line := <-said.seen:
			if strings.Contains(line, "registration failed") {
				if !strings.Contains(line, "is not an Entropy control plane") || !strings.Contains(line, "--server") {
					t.Errorf("it says %s", line)
				}
				return
			}
		case <-limit:
			t.Fatal("it said nothing")
		}
	}
}

// lines passes on what is written to it.
type lines struct{ seen chan string }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.seen <- string(p):
	default:
	}
	return len(p), nil
}

// proves H-3, P-3: on a full disk nothing acknowledged is lost, submissions are
// refused with the reason, workers stay, and it resumes by itself.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	c, err := fabric.OpenControl(context.Background(), fabric.ControlConfig{DataDir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(strings.Repeat("x", 100<<10))
	var accepted []entropy.JobID
	full := fillDisk(t, c.Service(), payload, &accepted)
	hinted(t, full, entropy.CodeDiskFull)
	for _, id := range accepted {
		if _, err := c.Service().Job(ctx, id); err != nil {
			t.Errorf("accepted job %s: %v", id, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() bool {
		r, err := c.Service().Submit(ctx, []entropy.Submission{{Spec: entropy.JobSpec{Handler: "noop"}}})
		return err == nil && r[0].Error == nil
	}, func() string { return "it did not resume" })
	t.Logf("%d jobs accepted before the disk was full", len(accepted))
}

// fillDisk submits until it is refused, and returns how.
func fillDisk(t *testing.T, s entropy.Service, payload json.RawMessage, accepted *[]entropy.JobID) error {
	t.Helper()
	for range 1000 {
		r, err := s.Submit(context.Background(), []entropy.Submission{{Spec: entropy.JobSpec{Handler: "noop", Payload: payload}}})
		if err != nil {
			return err
		}
		if r[0].Error != nil {
			return r[0].Error
		}
		*accepted = append(*accepted, r[0].ID)
	}
	t.Fatal("the disk never got full")
	return nil
}
