package entropy

import (
	"context"
	"net/url"
	"time"
)

// RequestAction implements [Service].
func (c *Client) RequestAction(ctx context.Context, r ActionRequest) (ActionResult, error) {
	var result ActionResult
	err := c.call(ctx, call{method: "POST", path: "/v1/actions", body: r.Envelope, out: &result, mutates: true, repeatable: true})
	return result, err
}

// Action implements [Service].
func (c *Client) Action(ctx context.Context, id ActionID) (ActionInfo, error) {
	var info ActionInfo
	err := c.call(ctx, call{method: "GET", path: actionPath(id, ""), out: &info})
	return info, err
}

// Actions implements [Service].
func (c *Client) Actions(ctx context.Context, f ActionFilter) (ActionPage, error) {
	q := url.Values{}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	setText(q, "command", f.Command)
	setText(q, "tenant", f.Tenant)
	setText(q, "entity_id", f.Target)
	setInt(q, "limit", int64(f.Limit))
	setText(q, "cursor", f.Cursor)
	var page ActionPage
	err := c.call(ctx, call{method: "GET", path: "/v1/actions", query: q, out: &page})
	return page, err
}

// WaitAction implements [Service]. It asks at least once, and again until the
// action has ended or max has passed.
func (c *Client) WaitAction(ctx context.Context, id ActionID, max time.Duration) (ActionInfo, error) {
	deadline := time.Now().Add(max)
	for {
		left := min(time.Until(deadline), MaxWait)
		q := url.Values{}
		if left > 0 {
			q.Set("wait", left.String())
		}
		var info ActionInfo
		err := c.call(ctx, call{method: "GET", path: actionPath(id, ""), query: q, out: &info, wait: left})
		if err != nil || info.State.Terminal() || left <= 0 {
			return info, err
		}
	}
}

// SetAction implements [Service].
func (c *Client) SetAction(ctx context.Context, id ActionID, verb ActionVerb, op Operation) (ActionInfo, error) {
	var info ActionInfo
	err := c.call(ctx, call{method: "POST", path: actionPath(id, "/"+url.PathEscape(string(verb))), body: op, out: &info, mutates: true, repeatable: true})
	return info, err
}

// DeadLetters implements [Service].
func (c *Client) DeadLetters(ctx context.Context, f DeadLetterFilter) (DeadLetterPage, error) {
	q := url.Values{}
	if f.All {
		q.Set("all", "true")
	}
	setText(q, "command", f.Command)
	setInt(q, "limit", int64(f.Limit))
	setText(q, "cursor", f.Cursor)
	var page DeadLetterPage
	err := c.call(ctx, call{method: "GET", path: "/v1/dlq", query: q, out: &page})
	return page, err
}

// DeadLetter implements [Service].
func (c *Client) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	d := new(DeadLetter)
	err := c.call(ctx, call{method: "GET", path: deadLetterPath(id, ""), out: d})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// ReplayDeadLetter implements [Service].
func (c *Client) ReplayDeadLetter(ctx context.Context, id string, op Operation) (ActionResult, error) {
	var result ActionResult
	err := c.call(ctx, call{method: "POST", path: deadLetterPath(id, "/replay"), body: op, out: &result, mutates: true, repeatable: true})
	return result, err
}

// DropDeadLetter implements [Service].
func (c *Client) DropDeadLetter(ctx context.Context, id string, op Operation) (*DeadLetter, error) {
	d := new(DeadLetter)
	err := c.call(ctx, call{method: "POST", path: deadLetterPath(id, "/drop"), body: op, out: d, mutates: true, repeatable: true})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func actionPath(id ActionID, rest string) string {
	return "/v1/actions/" + url.PathEscape(string(id)) + rest
}

func deadLetterPath(id, rest string) string { return "/v1/dlq/" + url.PathEscape(id) + rest }
