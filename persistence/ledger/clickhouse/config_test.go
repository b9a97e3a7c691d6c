package clickhouse_test

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
)

// proves I-4: settings that cannot be right are refused with what is wrong and what to
// do, and never with a password.
func TestConfig(t *testing.T) {
	for url, want := range map[string]string{
		"clickhouse://h": "", "clickhouse://me@h:9000": "", "clickhouses://h,h2:9441": "", "http://h": "", "https://[::1]:8443/": "",
		"h:9000": "USER@HOST", "nats://h": "does not name", "clickhouse://": "does not name", "http://h/db": "--clickhouse-database",
		"http://h?x=1": "--clickhouse-database", "clickhouse://me:hunter2@h": "--clickhouse-password-file", "http://me:hunter2@h:x": "port", "\x00": "invalid control",
	} {
		cfg := clickhouse.Config{URL: url}
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(text(err), want)) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
		if strings.Contains(text(err), "hunter2") {
			t.Errorf("it tells the password: %v", err)
		}
		if _, err := clickhouse.New(cfg, "", nil); (err == nil) != (want == "") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, c := range []clickhouse.Config{{PasswordFile: "x"}, {URL: "http://h", CAFile: "x"}, {URL: "http://h", Database: "a`b"}} {
		if err := c.Validate(); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (clickhouse.Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

// text is a message with its hint.
func text(err error) string {
	if err == nil {
		return ""
	}
	e := entropy.AsError(err)
	return e.Message + " " + e.Hint
}

// proves S, I: a wrong password, a missing file and a server that is none are said so;
// a password file is read again when the connection is made anew.
func TestPassword(t *testing.T) {
	s := chdbtest.StartWith(t, "s3cret")
	file := filepath.Join(t.TempDir(), "password")
	cfg := config(s)
	cfg.PasswordFile = file
	ask := func(l *clickhouse.Ledger) error {
		_, err := l.Steps(t.Context(), ledger.StepFilter{})
		return err
	}
	l := connect(t, cfg)
	if err := ask(l); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), "password") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(file, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(l); entropy.ErrorCode(err) != entropy.CodeForbidden || !strings.Contains(text(err), "--clickhouse-password-file") || strings.Contains(text(err), "wrong\n") {
		t.Errorf("a wrong one: %v", err)
	}
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(l); err != nil {
		t.Errorf("the right one: %v", err)
	}
	cfg.URL = "http://127.0.0.1:1"
	if err := ask(connect(t, cfg)); entropy.ErrorCode(err) != entropy.CodeUnavailable || strings.Contains(err.Error(), "query=") {
		t.Errorf("nobody there: %v", err)
	}
}

// proves S-3: over TLS the server has to be vouched for.
func TestTLS(t *testing.T) {
	s := chdbtest.Start(t)
	target, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // it would say that a stranger hung up
	front.StartTLS()
	defer front.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(s)
	cfg.URL = front.URL
	if _, err := connect(t, cfg).Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeUnavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a stranger: %v", err)
	}
	cfg.CAFile = ca
	if _, err := connect(t, cfg).Steps(t.Context(), ledger.StepFilter{}); err != nil {
		t.Errorf("one that is vouched for: %v", err)
	}
	cfg.CAFile = os.Args[0]
	if _, err := connect(t, cfg).Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a CA that is none: %v", err)
	}
}

// proves I: the native protocol is spoken where the URL says so, with TLS where it says
// so.
func TestNativeGreets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		first := make(chan byte, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			b := make([]byte, 1)
			if _, err := conn.Read(b); err == nil {
				first <- b[0]
			}
		}()
		scheme, want := "clickhouse://", byte(0) // the packet Hello
		if secure {
			scheme, want = "clickhouses://", byte(0x16) // a TLS handshake
		}
		c := connect(t, clickhouse.Config{URL: scheme + l.Addr().String()})
		if _, err := c.Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeUnavailable {
			t.Errorf("a server that hangs up: %v", err)
		}
		if got := <-first; got != want {
			t.Errorf("%s begins with %d", scheme, got)
		}
	}
}

// proves P-4, I: a database of another cluster or of a newer release is refused, and
// left as it is; how long what is kept can be changed, and given up.
func TestWrongDatabase(t *testing.T) {
	s := chdbtest.Start(t)
	l := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
	record(t, l, ledgertest.NewGenerator(1).Next(500))
	cfg := config(s)
	mirror(t, connect(t, cfg), l)
	other, err := clickhouse.New(cfg, "other", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(text(err), "--clickhouse-database") {
		t.Errorf("another cluster: %v", err)
	}
	cfg.Database = "other_one"
	beside := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
	record(t, beside, ledgertest.NewGenerator(1).Next(500))
	mirror(t, connect(t, cfg), beside)
	cfg.Database = ""

	for _, keep := range []int{24, -1, 0} {
		cfg.Keep, cfg.KeepCounts = time.Duration(keep)*time.Hour, time.Duration(keep)*time.Hour
		c := connect(t, cfg)
		if _, err := c.Steps(t.Context(), ledger.StepFilter{}); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"event", "latency", "action", "deviation"} {
			if got := strings.Contains(ask(t, s, "SELECT create_table_query FROM system.tables WHERE database = 'entropy' AND name = '"+table+"'"), "TTL"); got != (keep >= 0) {
				t.Errorf("%s, kept for %d hours: it has a TTL: %t", table, keep, got)
			}
		}
	}
	ask(t, s, "INSERT INTO entropy.migration (version) VALUES (99)")
	if _, err := connect(t, cfg).Steps(t.Context(), ledger.StepFilter{}); entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(text(err), "newer release") {
		t.Errorf("a newer release: %v", err)
	}
}
