package s3_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/s3"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

const (
	accessKey = "test-access-key"
	secretKey = "test-secret-key-that-is-long"
	buildFor  = 9 * time.Minute // a cold cache on a small machine
)

// server builds and starts versitygw, an S3 server that checks signatures, over a
// directory. It is a module of its own, in testdata.
func server(t *testing.T) (endpoint, dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not checked: an S3 server is not built with -short")
	}
	bin := filepath.Join(t.TempDir(), "versitygw")
	ctx, done := context.WithTimeout(t.Context(), buildFor)
	defer done()
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/versity/versitygw/cmd/versitygw")
	build.Dir = filepath.Join("testdata", "versitygw")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("not checked: the S3 server cannot be built here: %v\n%.500s", err, out)
	}
	dir = t.TempDir()
	for _, bucket := range []string{"inbox", "archive"} {
		if err := os.Mkdir(filepath.Join(dir, bucket), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(bin, "--port", addr, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw: %.2000s", log.String())
		}
	})
	listening(t, addr)
	return "http://" + addr, dir
}

func listening(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the S3 server does not listen")
		}
	}
}

func config(t *testing.T, endpoint string) s3.Config {
	t.Setenv("S3_TEST_ID", accessKey)
	t.Setenv("S3_TEST_KEY", secretKey)
	return s3.Config{Endpoint: endpoint, PathStyle: true, AccessKey: "env:S3_TEST_ID", SecretKey: "env:S3_TEST_KEY",
		Buckets: map[string]s3.Bucket{"inbox": {Write: true}, "archive": {Write: true, Prefixes: []string{"2025/"}}, "sealed": {}, "gone": {Write: true}}}
}

func handlers(t *testing.T, conf s3.Config) executortest.Handlers {
	t.Helper()
	h := executortest.Handlers{}
	if err := s3.Register(h, conf); err != nil {
		t.Fatal(err)
	}
	return h
}

// proves A-6: put, copy and presence against an S3 server that we did not write,
// each once per action.
func TestAgainstAServer(t *testing.T) {
	endpoint, dir := server(t)
	h := handlers(t, config(t, endpoint))
	call := func(command, args string) map[string]any {
		t.Helper()
		res, err := h.Call(t.Context(), command, args)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return res
	}
	const at = `"bucket":"inbox","key":"a b/über.txt"`
	if res := call("s3_presence", `{`+at+`}`); res["present"] != false {
		t.Errorf("it is there before: %v", res)
	}
	first := call("s3_put", `{`+at+`,"text":"hello","content_type":"text/plain"}`)
	if again := call("s3_put", `{`+at+`,"text":"hello"}`); again["repeated"] != true || again["etag"] != first["etag"] {
		t.Errorf("a repeat: %v after %v", again, first)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "inbox", "a b", "über.txt")); err != nil || string(b) != "hello" {
		t.Errorf("the server has %q, %v", b, err)
	}
	if res := call("s3_presence", `{`+at+`,"min_size":5}`); res["present"] != true || res["size"] != 5.0 {
		t.Errorf("it is not there after: %v", res)
	}
	const copying = `{"from":{` + at + `},"to":{"bucket":"archive","key":"2025/08/x.txt"}}`
	if res := call("s3_copy", copying); res["size"] != 5.0 || res["repeated"] != nil {
		t.Errorf("the copy: %v", res)
	}
	if res := call("s3_copy", copying); res["repeated"] != true {
		t.Errorf("the copy again: %v", res)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "archive", "2025", "08", "x.txt")); err != nil || string(b) != "hello" {
		t.Errorf("the server has %q, %v", b, err)
	}
	for args, want := range map[string]string{
		`s3_presence {"bucket":"inbox","key":"none","require":true}`:                                "not_found",
		`s3_presence {` + at + `,"require":true,"min_size":6}`:                                      "not_found",
		`s3_put {"bucket":"gone","key":"x","text":"x"}`:                                             "not_found final",
		`s3_copy {"from":{"bucket":"inbox","key":"none"},"to":{"bucket":"archive","key":"2025/x"}}`: "not_found final",
	} {
		fails(t, h, args, want)
	}
	t.Setenv("S3_TEST_KEY", "a-wrong-key-that-is-long")
	fails(t, h, `s3_put {"bucket":"inbox","key":"x","text":"x"}`, "forbidden final")
}

func fails(t *testing.T, h executortest.Handlers, call, want string) {
	t.Helper()
	command, args, _ := strings.Cut(call, " ")
	_, err := h.Call(t.Context(), command, args)
	kind, final := executortest.KindOf(err)
	if final {
		kind += " final"
	}
	if err == nil || kind != want || strings.Contains(err.Error(), secretKey) {
		t.Errorf("%s: %v (%s), want %s", call, err, kind, want)
	}
}

// proves A-6: what the settings do not allow is refused, and A-7: a dry run of a
// put sends nothing, so both need no server.
func TestNotAllowed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens
	conf := config(t, "http://"+l.Addr().String())
	h := handlers(t, conf)
	for args, want := range map[string]string{
		`s3_put {"bucket":"other","key":"x"}`:              builtin.KindNotAllowed + " final",
		`s3_put {"bucket":"sealed","key":"x"}`:             builtin.KindNotAllowed + " final",
		`s3_put {"bucket":"archive","key":"2024/x"}`:       builtin.KindNotAllowed + " final",
		`s3_put {"bucket":"archive","key":"2025/../x"}`:    builtin.KindNotAllowed + " final",
		`s3_put {"bucket":"inbox","key":""}`:               "invalid final",
		`s3_put {"bucket":"inbox","key":"x","base64":"?"}`: "invalid final",
		`s3_presence {"bucket":"other","key":"x"}`:         builtin.KindNotAllowed + " final",
		`s3_presence {"bucket":"inbox","key":"x"}`:         builtin.KindUnavailable,
	} {
		fails(t, h, args, want)
	}
	if res, err := h.Call(t.Context(), "s3_put", `{"bucket":"inbox","key":"x","base64":"aGVsbG8="}`, executortest.Dry); err != nil || res["size"] != 5.0 {
		t.Errorf("dry run: %v, %v", res, err)
	}
	err = s3.Register(executortest.Handlers{}, s3.Config{Endpoint: "s3.example.com", AccessKey: secretKey})
	if err == nil || strings.Contains(err.Error(), secretKey) || !strings.Contains(fmt.Sprint(err), "endpoint") {
		t.Errorf("bad settings: %v", err)
	}
}
