package controlm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/controlm"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

const token = "controlm-api-t0ken"

// fake answers with the shapes that the vendor has published.
type fake struct {
	t      *testing.T
	status string // of job workbench:0001p
	held   string
	runs   int
	fail   *answer // of the next POST
	hang   chan struct{}
	calls  []string
	body   map[string]any
}

type answer struct {
	code int
	body string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("x-api-key") != token {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"message":"Unauthorized","id":"EM1501","item":%q}]}`, r.Header.Get("x-api-key"))
		return
	}
	what := r.Method + " " + r.URL.Path
	f.calls = append(f.calls, strings.TrimPrefix(what, "POST "))
	if r.Method == http.MethodPost {
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &f.body); err != nil {
			f.t.Errorf("%s with %q", what, b)
		}
		if f.hang != nil {
			<-f.hang
			return
		}
		if f.fail != nil {
			w.WriteHeader(f.fail.code)
			io.WriteString(w, f.fail.body)
			return
		}
	}
	const job = "/automation-api/run/job/workbench:0001p/"
	switch what {
	case "GET " + job + "status":
		fmt.Fprintf(w, `{"jobId":"workbench:0001p","folderId":"workbench:00000","numberOfRuns":%d,"name":"TestJob1","folder":"AutomationAPISampleFlow",
			"type":"Command","status":%q,"held":%s,"deleted":"false","cyclic":"false","startTime":"Apr 26, 2016 10:43:47 AM","endTime":"Apr 26, 2016 10:44:47 AM",
			"outputURI":"https://host:8443/automation-api/run/job/workbench:0001p/output","logURI":"https://host:8443/automation-api/run/job/workbench:0001p/log"}`,
			f.runs, f.status, f.held)
	case "POST " + job + "hold", "POST " + job + "free":
		io.WriteString(w, `{"message":"Success"}`)
	case "POST " + job + "rerun":
		fmt.Fprintf(w, `{"jobId":"workbench:0001p","numberOfRuns":%d,"name":"TestJob1","status":"Executing"}`, f.runs+1)
	case "POST /automation-api/run/order":
		io.WriteString(w, `{"runId":"2d4af716-e31d-48ef-a434-16575303752d","statusURI":"https://host:8443/automation-api/run/status/2d4af716-e31d-48ef-a434-16575303752d"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"message":"No jobs were found","id":"EM0061"}]}`)
	}
}

func start(t *testing.T, f *fake) executortest.Handlers {
	t.Helper()
	f.t = t
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	t.Setenv("CTM_TEST_TOKEN", token)
	h := executortest.Handlers{}
	if err := controlm.Register(h, controlm.Config{Endpoint: srv.URL + "/automation-api", Token: "env:CTM_TEST_TOKEN",
		Folders: []string{"workbench/AutomationAPI*"}, Timeout: entropy.Duration(time.Second)}); err != nil {
		t.Fatal(err)
	}
	return h
}

// proves A-6: hold, free and rerun, each only when the job is not as it should be.
func TestJob(t *testing.T) {
	for _, c := range []struct {
		verb, status, held, args string
		runs                     int
		want                     []string
	}{
		{"hold", "Wait Condition", `"false"`, "", 1, []string{"hold"}},
		{"hold", "Wait Condition", `true`, "", 1, nil},
		{"free", "Wait User", `"true"`, "", 1, []string{"free"}},
		{"free", "Wait User", `false`, "", 1, nil},
		{"rerun", "Ended Not OK", `false`, "", 1, []string{"rerun"}},
		{"rerun", "Ended OK", `false`, "", 1, []string{"rerun"}},
		{"rerun", "Executing", `false`, "", 2, nil},
		{"rerun", "Ended OK", `false`, `,"runs":1`, 2, nil}, // it was rerun, and has ended again
		{"rerun", "Ended OK", `false`, `,"runs":2`, 2, []string{"rerun"}},
	} {
		f := &fake{status: c.status, held: c.held, runs: c.runs}
		res, err := start(t, f).Call(t.Context(), "controlm_"+c.verb, `{"job_id":"workbench:0001p"`+c.args+`}`)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		var got []string
		for _, call := range f.calls[1:] {
			got = append(got, strings.TrimPrefix(call, "/automation-api/run/job/workbench:0001p/"))
		}
		if !slices.Equal(got, c.want) || (res["already"] == true) != (len(c.want) == 0) {
			t.Errorf("%v: %v, %v", c, f.calls, res)
		}
	}
}

// proves A-6: an order carries the action's ID; one whose answer is lost is not
// repeated.
func TestRun(t *testing.T) {
	f := &fake{}
	h := start(t, f)
	res, err := h.Call(t.Context(), "controlm_run", `{"ctm":"workbench","folder":"AutomationAPISampleFlow","jobs":"TestJob*","variables":{"SLOT":"16:30"}}`)
	if err != nil || res["run_id"] != "2d4af716-e31d-48ef-a434-16575303752d" {
		t.Fatalf("%v, %v", res, err)
	}
	if got := fmt.Sprint(f.body); got != "map[ctm:workbench folder:AutomationAPISampleFlow hold:false ignoreCriteria:false jobs:TestJob* variables:[map[ENTROPY_ACTION_ID:act-1] map[SLOT:16:30]]]" {
		t.Errorf("it was sent %s", got)
	}
	f.hang = make(chan struct{})
	_, err = h.Call(t.Context(), "controlm_run", `{"ctm":"workbench","folder":"AutomationAPISampleFlow"}`)
	close(f.hang)
	if kind, final := executortest.KindOf(err); kind != "outcome_unknown" || !final {
		t.Errorf("no answer: %v (%s)", err, kind)
	}
}

// proves A-3: what the published errors mean, and that the token is not told.
func TestErrors(t *testing.T) {
	const ok = `{"ctm":"workbench","folder":"AutomationAPISampleFlow"}`
	for _, c := range []struct {
		args string
		fail *answer
		want string
	}{
		{ok, &answer{400, `{"errors":[{"message":"Folder does not exist","id":"EM0063"}]}`}, "invalid final"},
		{ok, &answer{500, `{"errors":[{"message":"Gateway is down","id":"EM0100"}]}`}, "unavailable"},
		{ok, &answer{403, `{}`}, "forbidden final"},
		{`{"ctm":"workbench","folder":"Payroll"}`, nil, "not_allowed final"},
		{`{"ctm":"*","folder":"AutomationAPISampleFlow"}`, nil, "invalid final"},
		{`{"folder":"x"}`, nil, "invalid final"},
	} {
		_, err := start(t, &fake{fail: c.fail}).Call(t.Context(), "controlm_run", c.args)
		check(t, err, c.want)
	}
	h := start(t, &fake{status: "Ended OK", held: "false"})
	for args, want := range map[string]string{`{"job_id":"workbench:none"}`: "not_found final", `{"job_id":"a/../b"}`: "invalid final", `{}`: "invalid final"} {
		_, err := h.Call(t.Context(), "controlm_rerun", args)
		check(t, err, want)
	}
	if res, err := h.Call(t.Context(), "controlm_rerun", `{"job_id":"workbench:0001p"}`, executortest.Dry); err != nil || res["would"] != "rerun" {
		t.Errorf("dry run: %v, %v", res, err)
	}
	t.Setenv("CTM_TEST_TOKEN", "another-secret")
	_, err := h.Call(t.Context(), "controlm_hold", `{"job_id":"workbench:0001p"}`)
	check(t, err, "unauthorized final")
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	kind, final := executortest.KindOf(err)
	if final {
		kind += " final"
	}
	if err == nil || kind != want || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "another-secret") {
		t.Errorf("%v (%s), want %s", err, kind, want)
	}
}
