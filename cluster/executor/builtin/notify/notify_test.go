package notify_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/notify"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

const (
	token = "xoxb-000-this-is-a-secret"
	hook  = "/services/T000/B000/this-is-a-secret"
)

// slack answers as the published documentation has it.
type slack struct {
	t       *testing.T
	answers []answer // in turn; the last stays
	bodies  []map[string]any
}

type answer struct {
	status int
	header string // Retry-After
	body   string
}

func (s *slack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	b, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(b, &body); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || r.Method != "POST" {
		s.t.Errorf("%s with %q: %v", r.Method, b, err)
	}
	switch r.URL.Path {
	case hook, "/plain":
	case "/api/chat.postMessage":
		if r.Header.Get("Authorization") != "Bearer "+token {
			s.t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
	default:
		s.t.Errorf("path %s", r.URL.Path)
	}
	a := s.answers[min(len(s.bodies), len(s.answers)-1)]
	s.bodies = append(s.bodies, body)
	if a.header != "" {
		w.Header().Set("Retry-After", a.header)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

func start(t *testing.T, answers ...answer) (*slack, executortest.Handlers) {
	t.Helper()
	s := &slack{t: t, answers: answers}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	t.Setenv("NOTIFY_TOKEN", token)
	t.Setenv("NOTIFY_HOOK", srv.URL+hook)
	t.Setenv("NOTIFY_PLAIN", srv.URL+"/plain")
	h := executortest.Handlers{}
	if err := notify.Register(h, notify.Config{Private: true, Targets: map[string]notify.Target{
		"hook":  {Kind: notify.SlackWebhook, URL: "env:NOTIFY_HOOK"},
		"bot":   {Kind: notify.Slack, API: srv.URL + "/api", Token: "env:NOTIFY_TOKEN", Channel: "C123ABC456"},
		"plain": {Kind: notify.Webhook, URL: "env:NOTIFY_PLAIN", Headers: map[string]builtin.Value{"X-Key": {Secret: "env:NOTIFY_TOKEN"}}},
	}}); err != nil {
		t.Fatal(err)
	}
	return s, h
}

// proves A-6: an incoming webhook gets the text and the blocks, and answers ok; a
// 429 with Retry-After is waited for and repeated.
func TestSlackWebhook(t *testing.T) {
	s, h := start(t, answer{429, "1", "rate_limited"}, answer{200, "", "ok"})
	res, err := h.Call(t.Context(), "notify_supplier", `{"supplier":"hook","text":"Slot 16:30 is late","blocks":[{"type":"divider"}]}`)
	if err != nil || res["sent"] != true || len(s.bodies) != 2 {
		t.Fatalf("%v, %v after %d requests", res, err, len(s.bodies))
	}
	if got := fmt.Sprint(s.bodies[1]); got != "map[blocks:[map[type:divider]] text:Slot 16:30 is late]" {
		t.Errorf("it was sent %s", got)
	}
}

// proves A-6: chat.postMessage says 200 with "ok": false for most of what is wrong.
func TestSlackAPI(t *testing.T) {
	s, h := start(t, answer{200, "", `{"ok":true,"channel":"C123ABC456","ts":"1503435956.000247","message":{"text":"x","type":"message"}}`})
	res, err := h.Call(t.Context(), "notify_supplier", `{"to":"bot","text":"late","thread":"1503435956.000001"}`)
	if err != nil || res["ts"] != "1503435956.000247" {
		t.Fatalf("%v, %v", res, err)
	}
	if got := fmt.Sprint(s.bodies[0]); got != "map[channel:C123ABC456 metadata:map[event_payload:map[action_id:act-1] event_type:entropy_action] text:late thread_ts:1503435956.000001]" {
		t.Errorf("it was sent %s", got)
	}
}

// proves A-3: what each published error means for another attempt, and that none
// quotes the secret.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		to   string
		a    answer
		want string
	}{
		{"hook", answer{400, "", "invalid_payload"}, "invalid final"},
		{"hook", answer{403, "", "action_prohibited"}, "forbidden final"},
		{"hook", answer{404, "", "no_service " + hook}, "not_found final"},
		{"hook", answer{410, "", "channel_is_archived"}, "not_found final"},
		{"hook", answer{500, "", "rollup_error"}, "unavailable"},
		{"hook", answer{429, "120", "rate_limited"}, "overloaded"},
		{"bot", answer{200, "", `{"ok":false,"error":"channel_not_found"}`}, "not_found final"},
		{"bot", answer{200, "", `{"ok":false,"error":"invalid_auth"}`}, "unauthorized final"},
		{"bot", answer{200, "", `{"ok":false,"error":"msg_too_long"}`}, "invalid final"},
		{"bot", answer{200, "", `{"ok":false,"error":"internal_error"}`}, "unavailable"},
		{"bot", answer{429, "120", `{"ok":false,"error":"ratelimited"}`}, "overloaded"},
		{"bot", answer{200, "", `<html>`}, "outcome_unknown"},
		{"plain", answer{500, "", "you sent " + token}, "unavailable"},
	} {
		_, h := start(t, c.a)
		_, err := h.Call(t.Context(), "notify_supplier", `{"to":"`+c.to+`","text":"late"}`)
		kind, final := executortest.KindOf(err)
		if final {
			kind += " final"
		}
		if err == nil || kind != c.want || strings.Contains(err.Error(), "this-is-a-secret") {
			t.Errorf("%v: %v (%s), want %s", c.a, err, kind, c.want)
		}
	}
}

// proves A-6: any webhook gets the action's ID, and A-7: a dry run sends nothing.
func TestWebhook(t *testing.T) {
	s, h := start(t, answer{202, "", ""})
	if res, err := h.Call(t.Context(), "notify_supplier", `{"to":"plain","text":"late"}`, executortest.Dry); err != nil || len(s.bodies) != 0 {
		t.Errorf("dry run: %v, %v", res, err)
	}
	if _, err := h.Call(t.Context(), "notify_supplier", `{"to":"plain","text":"late","fields":{"slot":"16:30"}}`); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.bodies[0]); got != "map[action_id:act-1 correlation_id: entity_id:job:abc123 fields:map[slot:16:30] text:late]" {
		t.Errorf("it was sent %s", got)
	}
	for _, bad := range []string{`{"to":"nobody","text":"x"}`, `{"to":"plain"}`, `{"text":"x"}`, `{"to":"plain","text":"x","blocks":[]}`, `{"to":"hook","text":"x","fields":{}}`} {
		_, err := h.Call(t.Context(), "notify_supplier", bad)
		if _, final := executortest.KindOf(err); err == nil || !final {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// proves that a secret in the place of a reference is refused and not quoted.
func TestConfig(t *testing.T) {
	err := notify.Register(executortest.Handlers{}, notify.Config{Targets: map[string]notify.Target{
		"a": {Kind: notify.SlackWebhook, URL: "https://hooks.slack.com" + hook}, "b": {Kind: notify.Slack, Token: token, Channel: "c"}, "c": {Kind: "fax"}}})
	for _, want := range []string{"target a", "target b", "fax"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "this-is-a-secret") {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}
