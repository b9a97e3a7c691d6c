// Package notify executes notify_supplier: a message to a target that the settings
// name, over a Slack incoming webhook, Slack's chat.postMessage, or any webhook
// that takes JSON.
//
// Slack's shapes are those of its published documentation: "Sending messages using
// incoming webhooks", "chat.postMessage" and "Rate limits".
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// The kinds of a [Target].
const (
	SlackWebhook = "slack_webhook"
	Slack        = "slack" // chat.postMessage
	Webhook      = "webhook"
)

// Config says who may be notified.
type Config struct {
	Targets map[string]Target `json:"targets"`
	Timeout entropy.Duration  `json:"timeout"`  // of one request; 0 means 15 s
	MaxWait entropy.Duration  `json:"max_wait"` // longest Retry-After that is waited for here; 0 means 30 s
	Private bool              `json:"private"`  // allows loopback and private addresses
}

// Target is somebody who may be notified.
type Target struct {
	Kind string `json:"kind"`
	// URL is a secret for webhooks, because whoever has it may post.
	URL     builtin.Secret           `json:"url"`
	API     string                   `json:"api"`     // of slack; "" means https://slack.com/api
	Token   builtin.Secret           `json:"token"`   // of slack: xoxb-…
	Channel string                   `json:"channel"` // of slack
	Headers map[string]builtin.Value `json:"headers"` // of webhook
}

type args struct {
	To     string          `json:"to"`       // name of the target; "" means the only one
	Text   string          `json:"text"`     // for people
	Blocks json.RawMessage `json:"blocks"`   // of Slack
	Thread string          `json:"thread"`   // of slack: ts of the message that it answers
	Fields map[string]any  `json:"fields"`   // of webhook: goes beside the text
	Suppl  string          `json:"supplier"` // the same as to
}

const (
	maxText   = 4000 // characters that Slack advises
	maxBody   = 64 << 10
	maxAnswer = 64 << 10
)

type notifier struct {
	Config
	client *http.Client
}

// Register gives notify_supplier to an executor.
func Register(to executor.Registry, conf Config) error {
	if conf.Timeout == 0 {
		conf.Timeout = entropy.Duration(15 * time.Second)
	}
	if conf.MaxWait == 0 {
		conf.MaxWait = entropy.Duration(30 * time.Second)
	}
	var errs []error
	for name, t := range conf.Targets {
		if err := t.validate(); err != nil {
			errs = append(errs, fmt.Errorf("notify_supplier: target %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n := &notifier{Config: conf, client: builtin.NewClient(conf.Private)}
	to.Handle("notify_supplier", n.notify, executor.DryRun())
	return nil
}

func (t Target) validate() error {
	switch t.Kind {
	case SlackWebhook:
		return t.URL.Validate()
	case Slack:
		if t.Channel == "" {
			return errors.New("the channel is missing")
		}
		return t.Token.Validate()
	case Webhook:
		errs := []error{t.URL.Validate()}
		for name, v := range t.Headers {
			if err := v.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("header %s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("the kind %q is none of %s, %s and %s", t.Kind, SlackWebhook, Slack, Webhook)
}

func (n *notifier) target(a *args) (string, *Target, error) {
	name := a.To
	if name == "" {
		name = a.Suppl
	}
	if name == "" && len(n.Targets) == 1 {
		for name = range n.Targets {
		}
	}
	t, ok := n.Targets[name]
	if !ok {
		return name, nil, builtin.NotAllowedf("there is no target %q", name)
	}
	return name, &t, nil
}

func (n *notifier) notify(ctx context.Context, t *executor.Task) (any, error) {
	var a args
	if err := t.Args(&a); err != nil {
		return nil, err
	}
	name, target, err := n.target(&a)
	switch {
	case err != nil:
		return nil, err
	case strings.TrimSpace(a.Text) == "":
		return nil, executor.Invalidf("the text is missing")
	case len([]rune(a.Text)) > maxText:
		return nil, executor.Invalidf("the text has more than %d characters", maxText)
	case target.Kind == Webhook && (len(a.Blocks) > 0 || a.Thread != ""), target.Kind != Webhook && a.Fields != nil,
		target.Kind == SlackWebhook && a.Thread != "":
		return nil, executor.Invalidf("blocks, thread or fields do not go with a %s", target.Kind)
	}
	if t.DryRun() {
		return map[string]any{"would": "notify", "to": name, "kind": target.Kind, "characters": len([]rune(a.Text))}, nil
	}
	var result map[string]any
	err = builtin.Patiently(ctx, time.Duration(n.MaxWait), func() (err error) {
		ctx, done := context.WithTimeout(ctx, time.Duration(n.Timeout))
		defer done()
		switch target.Kind {
		case SlackWebhook:
			result, err = n.slackWebhook(ctx, target, &a)
		case Slack:
			result, err = n.slack(ctx, t, target, &a)
		default:
			result, err = n.webhook(ctx, t, target, &a)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("notify %s: %w", name, err)
	}
	result["to"] = name
	return result, nil
}

// post sends JSON to a place, of which nothing is told.
func (n *notifier) post(ctx context.Context, place string, body any, header http.Header) (*builtin.Response, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, executor.Invalidf("the message: %w", err)
	}
	if len(b) > maxBody {
		return nil, executor.Invalidf("the message has %d bytes, at most %d are allowed", len(b), maxBody)
	}
	u, err := url.Parse(place)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !n.Private) {
		return nil, executor.Final(errors.New("the target's URL is not one of https://"), executor.KindInvalid)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(b))
	if err != nil {
		return nil, executor.Final(errors.New("the target's URL cannot be called"), executor.KindInvalid)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	return builtin.Do(n.client, req, maxAnswer)
}

// hidden returns what must not be told of a URL that is a secret: it, and the part
// that makes it one.
func hidden(place string) []string {
	u, err := url.Parse(place)
	if err != nil {
		return []string{place}
	}
	return []string{place, u.RequestURI(), u.Path}
}

// slackWebhook posts to an incoming webhook, which answers "ok", or a word that
// says what is wrong.
func (n *notifier) slackWebhook(ctx context.Context, target *Target, a *args) (map[string]any, error) {
	place, err := target.URL.Read()
	if err != nil {
		return nil, err
	}
	body := map[string]any{"text": a.Text}
	if len(a.Blocks) > 0 {
		body["blocks"] = a.Blocks
	}
	res, err := n.post(ctx, place, body, nil)
	if err != nil {
		return nil, err
	}
	word := builtin.Redact(strings.TrimSpace(string(res.Body)), hidden(place)...)
	if err := builtin.StatusError(res, word[:min(len(word), 200)]); err != nil {
		return nil, err
	}
	if word != "ok" {
		return nil, executor.OfKind(fmt.Errorf("the webhook answered %.200q instead of ok", word), builtin.KindUnavailable)
	}
	return map[string]any{"sent": true}, nil
}

// passing are Slack's errors that another attempt may not meet.
var passing = map[string]string{"ratelimited": builtin.KindOverloaded, "rate_limited": builtin.KindOverloaded, "service_unavailable": builtin.KindUnavailable,
	"internal_error": builtin.KindUnavailable, "fatal_error": builtin.KindUnavailable, "request_timeout": builtin.KindUnavailable, "team_added_to_org": builtin.KindUnavailable}

// slack calls chat.postMessage, which answers 200 with "ok": false for most of what
// can go wrong. The action's ID goes along as the message's metadata.
func (n *notifier) slack(ctx context.Context, t *executor.Task, target *Target, a *args) (map[string]any, error) {
	token, err := target.Token.Read()
	if err != nil {
		return nil, err
	}
	body := map[string]any{"channel": target.Channel, "text": a.Text,
		"metadata": map[string]any{"event_type": "entropy_action", "event_payload": map[string]any{"action_id": t.ActionID()}}}
	if len(a.Blocks) > 0 {
		body["blocks"] = a.Blocks
	}
	if a.Thread != "" {
		body["thread_ts"] = a.Thread
	}
	api := target.API
	if api == "" {
		api = "https://slack.com/api"
	}
	res, err := n.post(ctx, strings.TrimSuffix(api, "/")+"/chat.postMessage", body, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return nil, err
	}
	var answer struct {
		OK      bool   `json:"ok"`
		Error   string `json:"error"`
		Channel string `json:"channel"`
		TS      string `json:"ts"`
	}
	decoded := json.Unmarshal(res.Body, &answer)
	if err := builtin.StatusError(res, answer.Error); err != nil {
		return nil, err
	}
	switch kind := passing[answer.Error]; {
	case decoded != nil:
		return nil, executor.OfKind(errors.New("the answer of Slack is not JSON"), builtin.KindOutcomeUnknown)
	case answer.OK:
		return map[string]any{"sent": true, "channel": answer.Channel, "ts": answer.TS}, nil
	case kind != "":
		return nil, executor.Retryable(executor.OfKind(fmt.Errorf("by Slack: %s", answer.Error), kind), builtin.RetryAfter(res.Header, time.Now()))
	}
	return nil, executor.Final(fmt.Errorf("by Slack: %s", builtin.Redact(answer.Error, token)), slackKind(answer.Error))
}

func slackKind(word string) string {
	switch word {
	case "not_authed", "invalid_auth", "token_revoked", "token_expired", "account_inactive":
		return builtin.KindUnauthorized
	case "channel_not_found":
		return builtin.KindNotFound
	case "not_in_channel", "missing_scope", "no_permission", "restricted_action", "is_archived", "access_denied":
		return builtin.KindForbidden
	}
	return executor.KindInvalid
}

// webhook posts {"action_id", "text", "fields", "entity_id", "correlation_id"}.
func (n *notifier) webhook(ctx context.Context, t *executor.Task, target *Target, a *args) (map[string]any, error) {
	place, err := target.URL.Read()
	if err != nil {
		return nil, err
	}
	secrets := hidden(place)
	header := http.Header{}
	for name, v := range target.Headers {
		value, secret, err := v.Read()
		if err != nil {
			return nil, err
		}
		header.Set(name, value)
		secrets = append(secrets, secret)
	}
	header.Set("Idempotency-Key", t.ActionID())
	body := map[string]any{"action_id": t.ActionID(), "text": a.Text, "entity_id": t.Event.EntityID, "correlation_id": t.Event.CorrelationID}
	if a.Fields != nil {
		body["fields"] = a.Fields
	}
	res, err := n.post(ctx, place, body, header)
	if err != nil {
		return nil, err
	}
	said := builtin.Redact(string(res.Body), secrets...)
	if err := builtin.StatusError(res, said[:min(len(said), 200)]); err != nil {
		return nil, err
	}
	return map[string]any{"sent": true, "status": res.Status}, nil
}
