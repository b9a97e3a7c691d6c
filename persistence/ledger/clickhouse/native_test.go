package clickhouse

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/entropy-fabric/entropy"
)

const nativeConfig = `<yandex><logger><level>warning</level><console>1</console></logger><listen_host>127.0.0.1</listen_host><tcp_port>%d</tcp_port>
<path>%[2]s/</path><tmp_path>%[2]s/tmp/</tmp_path><users_config>%[2]s/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>5368709120</mark_cache_size></yandex>`

const nativeUsers = `<yandex><profiles><default/></profiles><quotas><default/></quotas><users><writer><password>s3cret</password>
<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer></users></yandex>`

// native starts Debian's ClickHouse, which is old, for a test.
func native(t *testing.T) (addr string) {
	t.Helper()
	bin, err := exec.LookPath("clickhouse-server")
	if err != nil {
		t.Skip("the native protocol was not checked: there is no clickhouse-server; in a container of Debian, as root, scripts/setup installs it")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	for name, text := range map[string]string{"config.xml": fmt.Sprintf(nativeConfig, l.Addr().(*net.TCPAddr).Port, dir), "users.xml": nativeUsers} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	cmd := exec.Command(bin, "--config-file", filepath.Join(dir, "config.xml"))
	cmd.Stderr, cmd.Stdout, cmd.Dir = &said, &said, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	end := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		select {
		case <-tick.C:
		case <-end:
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("clickhouse-server does not listen: %.2000s", said.String())
		}
	}
}

// proves I: by the native protocol, with the settings of a Config, a batch arrives
// compressed and whole, and a wrong password is told apart. The server is of 2018 and
// knows no table of ours.
func TestNativeProtocol(t *testing.T) {
	addr := native(t)
	file := filepath.Join(t.TempDir(), "password")
	dial := func(password string) ch.Conn {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := Config{URL: "clickhouse://writer@" + addr, PasswordFile: file}.options()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := ch.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	if err := classify(dial("wrong").Ping(t.Context())); entropy.ErrorCode(err) != entropy.CodeForbidden {
		t.Errorf("a wrong password: %v", err)
	}
	conn := dial("s3cret")
	if err := conn.Exec(t.Context(), "CREATE TABLE default.event (row UInt64, body String, bucket Int8) ENGINE = MergeTree ORDER BY row"); err != nil {
		t.Fatal(err)
	}
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO default.event (row, body, bucket)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if err := batch.Append(uint64(i), strings.Repeat("x", i%100), int8(i%98-1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	var n, sum, bytes uint64
	if err := conn.QueryRow(t.Context(), "SELECT count(), sum(row), sum(length(body)) FROM default.event WHERE bucket > ?", -2).Scan(&n, &sum, &bytes); err != nil || n != 20_000 || sum != 199_990_000 || bytes != 990_000 {
		t.Errorf("%d rows, sum %d, %d bytes, %v", n, sum, bytes, err)
	}
	l, err := New(Config{URL: "clickhouse://writer@" + addr, PasswordFile: file}, "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.ready(t.Context()); entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), "18.16") {
		t.Errorf("a server that is too old: %v", err)
	}
}
