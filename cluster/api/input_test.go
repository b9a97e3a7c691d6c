package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/entropytest"
)

// proves “Bad input, everywhere”, attack 20: named field, offset, right status,
// and nothing half done
func TestBadBodies(t *testing.T) {
	w, m := memoryWorld(t)
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"empty object":      {`{}`, 400, "jobs is missing or empty"},
		"empty batch":       {`{"jobs":[]}`, 400, "jobs is missing or empty"},
		"null":              {`null`, 400, "jobs is missing"},
		"both forms":        {`{"jobs":[],"spec":{}}`, 400, "also the fields of one job"},
		"no spec":           {`{"id":"x"}`, 400, "spec is missing"},
		"no command":        {`{"spec":{}}`, 400, "there is no command"},
		"not JSON":          {`hello`, 400, "this is not JSON (offset 0)"},
		"NaN":               {`{"spec":{"priority":NaN}}`, 400, "spec.priority"},
		"cut short":         {`{"spec":{"command":["a"`, 400, "offset"},
		"unknown field":     {`{"spec":{"command":["a"],"comand":["b"]}}`, 400, "spec.comand: there is no such field (offset 25)"},
		"case":              {`{"spec":{"Command":["a"]}}`, 400, "spec.Command"},
		"repeated field":    {`{"spec":{"command":["a"],"command":["b"]}}`, 400, "spec.command: it is given twice"},
		"repeated by case":  {`{"spec":{"command":["a"],"COMMAND":["b"]}}`, 400, "spec.COMMAND"},
		"repeated escape":   {`{"spec":{"command":["a"],"\u0063ommand":["b"]}}`, 400, "it is given twice"},
		"repeated map key":  {`{"spec":{"command":["a"],"labels":{"k":"1","k":"2"}}}`, 400, "spec.labels.k: it is given twice"},
		"repeated payload":  {`{"spec":{"handler":"h","payload":{"a":{"b":1,"b":2}}}}`, 400, "payload.a.b"},
		"trailing data":     {`{"spec":{"command":["a"]}} {}`, 400, "data after the end"},
		"wrong type":        {`{"spec":{"command":"a"}}`, 400, "spec.command: a string does not fit a list"},
		"wrong type in job": {`{"jobs":[{"spec":{"command":["a"]}},{"spec":{"priority":"x"}}]}`, 400, "priority"},
		"bad duration":      {`{"spec":{"command":["a"],"run_timeout":"soon"}}`, 400, `spec.run_timeout: \"soon\" is not a duration`},
		"bad time":          {`{"jobs":[{"spec":{"command":["a"],"not_before":"tomorrow"}}]}`, 400, "jobs[0].spec.not_before"},
		"fraction":          {`{"spec":{"command":["a"],"priority":1.5}}`, 400, "spec.priority"},
		"huge number":       {`{"spec":{"command":["a"],"priority":1e99}}`, 400, "spec.priority"},
		"invalid UTF-8":     {"{\"spec\":{\"command\":[\"\xff\"]}}", 400, "not valid UTF-8 (offset 21)"},
		"half surrogate":    {`{"spec":{"command":["\ud800"]}}`, 400, "surrogate"},
		"other surrogate":   {`{"spec":{"command":["\ud800\u0041"]}}`, 400, "surrogate"},
		"control character": {"{\"spec\":{\"command\":[\"\n\"]}}", 400, "control character"},
		"depth":             {`{"spec":{"handler":"h","payload":` + deep + `}}`, 400, "nested too deeply"},
		"depth at top":      {deep, 400, "nested too deeply"},
		"bad ID":            {`{"id":"../x","spec":{"command":["a"]}}`, 400, "../x"},
		"10 MB string":      {`{"spec":{"command":["` + strings.Repeat("a", 10<<20) + `"]}}`, 413, "larger than"},
		"too many":          {`{"jobs":[` + strings.Repeat(`{"spec":{"command":["a"]}},`, 1000) + `{"spec":{"command":["a"]}}]}`, 413, "1001 items"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			start := time.Now()
			resp, _ := w.want(request{method: "POST", path: "/v1/jobs", token: w.admin, body: c.body}, c.status, c.says, `"hint":"`)
			if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	w.t = t
	page, err := m.Jobs(t.Context(), entropy.JobFilter{})
	if err != nil || len(page.Jobs) != 0 {
		t.Fatalf("something was accepted: %+v %v", page, err)
	}
	w.want(request{method: "POST", path: "/v1/jobs", token: w.admin, body: `{"spec":{"command":["\ud83d\ude00"],"labels":{"K":"1","k":"2"}}}`}, 201)
}

// proves “Bad input, everywhere”: kinds of content
func TestContentType(t *testing.T) {
	w, _ := memoryWorld(t)
	body := `{"spec":{"command":["true"]}}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.CopyN(z, zeros{}, 50<<20); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	post := func(header map[string]string, body string, status int, says string) {
		t.Helper()
		w.want(request{method: "POST", path: "/v1/jobs", token: w.admin, body: body, header: header}, status, says)
	}
	post(map[string]string{"Content-Type": "text/plain"}, body, 415, "application/json")
	post(map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body, 415, "application/json")
	post(map[string]string{"Content-Type": ";;"}, body, 415, "application/json")
	post(map[string]string{"Content-Encoding": "gzip"}, packed.String(), 415, "gzip")
	post(map[string]string{"Content-Type": "application/json; charset=utf-8"}, body, 201, "")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// proves attack 20: a body of 2 GB costs little memory, and is refused before it is sent
func TestHugeBody(t *testing.T) {
	w, _ := memoryWorld(t)
	for _, path := range []string{"/v1/jobs", "/v1/wait", "/v1/blobs/missing"} {
		for _, length := range []int64{2 << 30, -1} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			req, err := http.NewRequest("POST", w.url+path, io.LimitReader(spaces{}, 2<<30))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+w.admin)
			start := time.Now()
			resp, err := testClient.Do(req)
			if err != nil {
				t.Logf("%s: the connection was closed: %v", path, err) // while sending: also an end
			} else {
				resp.Body.Close()
				if resp.StatusCode != 413 {
					t.Errorf("%s with length %d: %d, want 413", path, length, resp.StatusCode)
				}
			}
			runtime.ReadMemStats(&after)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%s: it took %v", path, took)
			}
			if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 256<<20 {
				t.Errorf("%s: %d MiB were allocated", path, grown>>20)
			}
		}
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// proves §12: 404 and 405 in the form of every other error
func TestNoRoute(t *testing.T) {
	w, _ := memoryWorld(t)
	resp, _ := w.want(request{method: "GET", path: "/v2/jobs"}, 404, `"code":"not_found"`, "openapi")
	if resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get(entropy.HeaderAPI) == "" {
		t.Errorf("headers %v", resp.Header)
	}
	for path, allow := range map[string]string{"/v1/jobs": "GET, HEAD, POST", "/v1/jobs/x/cancel": "POST", "/v1/blobs/" + strings.Repeat("a", 64): "HEAD, PUT"} {
		resp, _ := w.want(request{method: "DELETE", path: path}, 405, `"status":405`)
		if got := resp.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", path, got, allow)
		}
	}
	w.want(request{method: "GET", path: "/v1/jobs/nope", token: w.admin}, 404, "nope")
	w.want(request{method: "GET", path: "/v1/jobs/%2e%2e%2fetc", token: w.admin}, 400, "job ID")
	w.want(request{method: "POST", path: "/v1/workers/w1/explode", token: w.admin}, 404, "explode", "quarantine")
	w.want(request{method: "GET", path: "/v1/jobs/x/artifacts/../../../../etc/passwd", token: w.admin}, 307)
}

// proves “Bad input, everywhere”: parameters
func TestBadParameters(t *testing.T) {
	w, m := memoryWorld(t)
	submitOne(t, m, "a")
	for path, says := range map[string]string{
		"/v1/jobs?state=dead":                        "dead",
		"/v1/jobs?state=pending,dead":                "dead",
		"/v1/jobs?limit=-1":                          "limit",
		"/v1/jobs?limit=1001":                        "limit",
		"/v1/jobs?limit=x":                           "limit",
		"/v1/jobs?limit=1&limit=2":                   "limit is given twice",
		"/v1/jobs?colour=red":                        "colour",
		"/v1/jobs?label=novalue":                     "novalue",
		"/v1/jobs?label=a=1&label=a=2":               "given twice",
		"/v1/jobs?cursor=zzz":                        "cursor",
		"/v1/jobs?x=%zz":                             "not valid",
		"/v1/jobs?a;b":                               "not valid",
		"/v1/jobs/a?verbose=1":                       "verbose",
		"/v1/jobs/a/wait?timeout=-1s":                "timeout",
		"/v1/jobs/a/wait?timeout=soon":               "timeout",
		"/v1/jobs/a/logs?stream=stdin":               "stream",
		"/v1/jobs/a/logs?attempt=-1":                 "attempt",
		"/v1/jobs/a/logs?offset=1e3":                 "offset",
		"/v1/jobs/a/logs?limit=99999999":             "limit",
		"/v1/jobs/a/logs?follow=maybe":               "follow",
		"/v1/events?after=1":                         "EPOCH:SEQ",
		"/v1/events?after=1:-1":                      "EPOCH:SEQ",
		"/v1/events?limit=10001":                     "limit",
		"/v1/jobs?name=" + strings.Repeat("x", 5000): "name is longer",
	} {
		w.want(request{method: "GET", path: path, token: w.admin}, 400, says, `"code":"invalid"`)
	}
	w.want(request{method: "POST", path: "/v1/jobs/a/cancel", token: w.admin, body: `{"operation_id":"a b"}`}, 400, "operation_id")
	w.want(request{method: "POST", path: "/v1/wait", token: w.admin, body: `{"ids":["a"],"timeout":"-1s"}`}, 400, "negative")
	w.want(request{method: "GET", path: "/v1/jobs?state=pending,running&state=lost&label=k=v=w&limit=3", token: w.admin}, 200, `"jobs":[]`, `"next":null`)
}

// proves attacks 24 and 25 as far as the wire goes
func TestBadWorkerCalls(t *testing.T) {
	w, m := memoryWorld(t)
	key := w.knowWorker("w1")
	submitOne(t, m, "a")
	post := func(verb, body string, status int, says string) {
		t.Helper()
		w.want(request{method: "POST", path: "/v1/worker/" + verb, token: key, body: body}, status, says)
	}
	post("heartbeat", `{"incarnation":1,"seq":-1}`, 400, "seq: a number -1 does not fit a whole number that is not negative")
	post("heartbeat", `{"incarnation":1,"seq":18446744073709551616}`, 400, "seq")
	post("heartbeat", `{"incarnation":1,"seq":18446744073709551615}`, 409, "stale_session")
	post("heartbeat", `{"incarnation":18446744073709551615,"seq":1}`, 409, "stale_session")
	post("claim", `{"incarnation":1,"claim_seq":1,"want":1001}`, 400, "want")
	post("claim", `{"incarnation":1,"claim_seq":1,"want":-1}`, 400, "want")
	post("complete", `{"incarnation":1,"items":[]}`, 400, "items")
	post("complete", `{"incarnation":1,"items":[{"job_id":"a","result":"`+strings.Repeat("x", entropy.MaxResult)+`"}]}`, 413, "items[0].result")
	post("complete", `{"incarnation":1,"items":[{"job_id":"a","result":"`+strings.Repeat("x", entropy.MaxRequest)+`"}]}`, 413, "larger than")
	sum := strings.Repeat("ab", 32)
	put := func(path, body string, status int, says string) {
		t.Helper()
		w.want(request{method: "PUT", path: path, token: key, body: body, header: map[string]string{"Content-Type": "application/octet-stream"}}, status, says)
	}
	put("/v1/worker/artifacts/a1/"+sum+"?job=a&size=3&offset=4", "", 400, "past the size")
	put("/v1/worker/artifacts/a1/"+sum+"?job=a&size=3", "four", 413, "larger than 3")
	put("/v1/worker/artifacts/a1/"+sum+"?job=a&size=99999999999999", "", 400, "size")
	put("/v1/worker/artifacts/a1/"+strings.ToUpper(sum)+"?job=a&size=3", "abc", 400, "SHA-256")
	put("/v1/worker/artifacts/a1/zz?job=a&size=3", "abc", 400, "SHA-256")
	put("/v1/worker/artifacts/a1/"+sum+"?size=3", "abc", 400, "job is empty")
	put("/v1/worker/artifacts/a1/"+sum+"?job=a&size=3", "abc", 404, "no assignment a1")
	put("/v1/worker/logs/a1/stdin?job=a", "abc", 400, "stdin")
	put("/v1/worker/logs/a1/stdout?job=a&offset=-1", "abc", 400, "offset")
	put("/v1/worker/logs/a1/stdout?job=a", strings.Repeat("x", entropy.MaxLogPiece+1), 413, "larger than")
}

// proves W-7, §12: artifacts in ranges, never shown as a page
func TestArtifactDownload(t *testing.T) {
	w, m := memoryWorld(t)
	node := entropy.AsWorker(m, entropytest.Principal("w1"))
	submitOne(t, m, "a")
	a := startJob(t, node)
	content := []byte("<script>alert(1)</script>")
	const name = `dir/we"ird ü.html`
	art := entropy.Artifact{Name: name, SHA256: sha(content), Size: int64(len(content))}
	if _, err := node.StageArtifact(t.Context(), entropy.ArtifactUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, SHA256: art.SHA256, Size: art.Size}, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Complete(t.Context(), entropy.CompleteRequest{Incarnation: 1, Items: []entropy.Completion{{JobID: a.JobID, AssignmentID: a.AssignmentID, Outcome: entropy.OutcomeSucceeded, Artifacts: []entropy.Artifact{art}}}}); err != nil {
		t.Fatal(err)
	}
	get := request{method: "GET", path: "/v1/jobs/a/artifacts/dir/we%22ird%20%C3%BC.html", token: w.admin}
	resp, body := w.want(get, 200)
	if body != string(content) || resp.Header.Get("Etag") != `"`+art.SHA256+`"` || resp.Header.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") || resp.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("whole: %q %v", body, resp.Header)
	}
	for header, want := range map[string]string{"bytes=0-3": "<scr", "bytes=8-12": "alert", "bytes=-4": "ipt>", "bytes=20-": "ript>"} {
		get.header = map[string]string{"Range": header}
		if resp, body := w.want(get, 206); body != want || resp.Header.Get("Content-Range") == "" {
			t.Errorf("%s: %q, want %q", header, body, want)
		}
	}
	get.header = map[string]string{"Range": "bytes=10-13,1-6"}
	w.want(get, 206, "ert(", "script")
	get.header = map[string]string{"Range": "bytes=999-"}
	w.want(get, 416)
	get.header = map[string]string{"If-None-Match": `"` + art.SHA256 + `"`}
	w.want(get, 304)
	w.want(request{method: "GET", path: "/v1/jobs/a/artifacts", token: w.admin}, 200, art.SHA256, `"size":25`)
	w.want(request{method: "GET", path: "/v1/jobs/a/artifacts/other", token: w.admin}, 404)
	w.want(request{method: "HEAD", path: "/v1/blobs/" + art.SHA256, token: w.admin}, 200)
	w.want(request{method: "HEAD", path: "/v1/blobs/" + sha([]byte("other")), token: w.admin}, 404)
}

// proves attack 21: connections that never finish a request do not keep others out
func TestSlowConnections(t *testing.T) {
	w, _ := memoryWorld(t)
	for range 200 {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n")
	}
	start := time.Now()
	w.want(request{method: "GET", path: "/healthz"}, 200)
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return // closed while the header was sent: also an end
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 KiB: %d", resp.StatusCode)
	}
}

// proves I-3: a request that stalls in its body is ended
func TestStalledUpload(t *testing.T) {
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, func(c *api.Config) { c.IdleTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT /v1/blobs/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nabc", sha([]byte("x")), w.admin)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d, want 408", resp.StatusCode)
	}
}

// panicking is a service with a bug.
type panicking struct{ *entropytest.Memory }

// proves “Bad input, everywhere”: a bug costs one request and tells nothing
func TestPanic(t *testing.T) {
	w := newWorld(t, &panicking{}, entropytest.NewMemory(), nil)
	_, body := w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 500, `"code":"internal"`, "log")
	if strings.Contains(body, "nil pointer") {
		t.Errorf("the answer tells the inside: %s", body)
	}
	if !strings.Contains(w.log.String(), "nil pointer") || !strings.Contains(w.log.String(), "panic in a request") {
		t.Errorf("the log lacks the panic: %s", w.log.String())
	}
	w.want(request{method: "GET", path: "/healthz"}, 200)
}

// proves §12: too many requests of one credential at once
func TestInFlightLimit(t *testing.T) {
	m := entropytest.NewMemory()
	entered := make(chan struct{}, 4)
	slow := &slowService{Memory: m, entered: entered, release: make(chan struct{})}
	w := newWorld(t, slow, slow, func(c *api.Config) { c.MaxInFlight = 2 })
	submitOne(t, m, "a")
	done := make(chan struct{}, 2)
	for range 2 {
		go func() {
			w.do(request{method: "POST", path: "/v1/jobs/a/cancel", token: w.admin})
			done <- struct{}{}
		}()
		<-entered
	}
	resp, _ := w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 429, "too many requests")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.want(request{method: "GET", path: "/v1/worker/blobs/" + sha(nil), token: w.knowWorker("w1")}, 404) // another credential
	close(slow.release)
	<-done
	<-done
	w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 200)
}
