package ingest_test

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shop is a control plane with rules, and the program that talks to it.
type shop struct {
	t       *testing.T
	dir     string
	program string
	env     []string
	stop    func()
}

var address = regexp.MustCompile(`http://\S*\d`)

// start runs a control plane with a file of rules.
func (s *shop) start(rules string) {
	s.t.Helper()
	c := exec.Command(s.program, "control", "--data", filepath.Join(s.dir, "data"), "--listen", "127.0.0.1:0", "--no-gossip", "--normalize", rules)
	var log bytes.Buffer
	c.Stderr = &log
	stdout, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	stopped := false
	s.stop = func() {
		if !stopped {
			stopped = true
			_ = c.Process.Signal(syscall.SIGTERM)
			if err := c.Wait(); err != nil {
				s.t.Errorf("control: %v\n%s", err, log.String())
			}
		}
	}
	s.t.Cleanup(s.stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		s.t.Fatalf("%v: %s", err, log.String())
	}
	go io.Copy(io.Discard, stdout)
	s.env = append(os.Environ(), "ENTROPY_SERVER="+address.FindString(line), "ENTROPY_TOKEN_FILE="+filepath.Join(s.dir, "data", "admin.token"))
}

// run runs one command, whatever its exit code, and returns what it printed.
func (s *shop) run(args ...string) string {
	s.t.Helper()
	c := exec.Command(s.program, args...)
	c.Env, c.WaitDelay = s.env, time.Second
	out, err := c.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		s.t.Fatal(err)
	}
	return string(out)
}

func (s *shop) want(got, want string) {
	s.t.Helper()
	if !strings.Contains(got, want) {
		s.t.Errorf("%q is not in:\n%s", want, got)
	}
}

// proves E-1: the rules and the files do what the README says, and what is to be
// hashed is on no disk.
func TestIngest(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program and starts processes")
	}
	s := &shop{t: t, dir: t.TempDir()}
	s.program = filepath.Join(s.dir, "entropy")
	if out, err := exec.Command("go", "build", "-o", s.program, "github.com/entropy-fabric/entropy/cmd/entropy").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s.start("rules.yaml")
	s.want(s.run("import", "changes.jsonl", "deliveries.csv"), "5 accepted, 0 known already, 1 discarded by a rule, 1 not understood")
	s.want(s.run("import", "changes.jsonl", "deliveries.csv"), "0 accepted, 5 known already, 1 discarded by a rule, 1 not understood")
	order := s.run("ledger", "events", "--entity", "order:7")
	for _, want := range []string{"order.placed", "order.packed", "order.audited", `"duration_ms":181500`} {
		s.want(order+s.run("ledger", "events", "-o", "jsonl"), want)
	}
	s.want(s.run("ledger", "events", "--entity", "parcel:007", "--type", "delivery.delivered", "-o", "jsonl"), `"weight":1.25`)
	s.want(s.run("ledger", "dead", "ls"), "no rule matches it")

	s.stop()
	rules, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more := filepath.Join(s.dir, "more.yaml")
	if err := os.WriteFile(more, append(rules, "  - {name: deletions, match: {op: d}, event_type: order.deleted, entity_id: \"order:{before.id}\", ts: ts_ms}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(more)
	s.want(s.run("ledger", "dead", "replay", "--all"), "1 accepted")
	s.want(s.run("ledger", "events", "--entity", "order:6"), "order.deleted")
	s.stop()
	s.noTrace("ann@example.org")
}

// noTrace looks for a text in every file of the data directory.
func (s *shop) noTrace(text string) {
	err := filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			s.t.Errorf("%s is in %s", text, path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}
