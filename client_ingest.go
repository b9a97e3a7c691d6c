package entropy

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

var (
	_ IngestService    = (*Client)(nil)
	_ AnalyticsService = (*Client)(nil)
)

// Ingest implements [IngestService]. Repeating it is harmless for items that have
// an ID of their own, or become the same event again; of those that are not
// understood it makes another dead letter.
func (c *Client) Ingest(ctx context.Context, items []json.RawMessage) ([]IngestResult, error) {
	var reply IngestReply
	err := c.call(ctx, call{method: "POST", path: "/v1/ingest", body: IngestRequest{Items: items}, out: &reply, mutates: true, repeatable: true})
	return reply.Results, err
}

// Ledger implements [IngestService].
func (c *Client) Ledger(ctx context.Context, f LedgerFilter) (LedgerPage, error) {
	var page LedgerPage
	q := url.Values{}
	setInt(q, "after", int64(f.After))
	setInt(q, "limit", int64(f.Limit))
	if f.Entity != "" {
		q.Set("entity", f.Entity)
	}
	for _, t := range f.Types {
		q.Add("type", t)
	}
	setTimes(q, f.From, f.To)
	err := c.call(ctx, call{method: "GET", path: "/v1/ledger", query: q, out: &page})
	return page, err
}

// ActionStats implements [AnalyticsService].
func (c *Client) ActionStats(ctx context.Context, f ActionStatsFilter) ([]ActionStats, error) {
	var list ActionStatsList
	q := url.Values{}
	setInt(q, "limit", int64(f.Limit))
	for key, text := range map[string]string{"command": f.Command, "tenant": f.Tenant} {
		if text != "" {
			q.Set(key, text)
		}
	}
	setTimes(q, f.From, f.To)
	err := c.call(ctx, call{method: "GET", path: "/v1/ledger/actions", query: q, out: &list})
	return list.Actions, err
}

// Steps implements [AnalyticsService].
func (c *Client) Steps(ctx context.Context, f StepFilter) ([]StepCounts, error) {
	var list StepCountsList
	err := c.call(ctx, call{method: "GET", path: "/v1/ledger/steps", query: f.query(), out: &list})
	return list.Steps, err
}

// Transitions implements [AnalyticsService].
func (c *Client) Transitions(ctx context.Context, f StepFilter) ([]TransitionCount, error) {
	var list TransitionCountList
	err := c.call(ctx, call{method: "GET", path: "/v1/ledger/transitions", query: f.query(), out: &list})
	return list.Transitions, err
}

func (f StepFilter) query() url.Values {
	q := url.Values{}
	setInt(q, "least", int64(f.Least))
	setInt(q, "limit", int64(f.Limit))
	for key, text := range map[string]string{"entity": f.Entity, "step": f.Step} {
		if text != "" {
			q.Set(key, text)
		}
	}
	setTimes(q, f.From, f.To)
	return q
}

// setTimes adds the ends of a time to a query, without those that are open.
func setTimes(q url.Values, from, to time.Time) {
	for key, t := range map[string]time.Time{"from": from, "to": to} {
		if !t.IsZero() {
			q.Set(key, t.UTC().Format(time.RFC3339Nano))
		}
	}
}

// DeadItems implements [IngestService].
func (c *Client) DeadItems(ctx context.Context, after int64, limit int) ([]DeadItem, error) {
	var list DeadItemList
	q := url.Values{}
	setInt(q, "after", after)
	setInt(q, "limit", int64(limit))
	err := c.call(ctx, call{method: "GET", path: "/v1/ingest/dead", query: q, out: &list})
	return list.DeadItems, err
}

// ReplayDeadItem implements [IngestService].
func (c *Client) ReplayDeadItem(ctx context.Context, id int64) (IngestResult, error) {
	var r IngestResult
	err := c.call(ctx, call{method: "POST", path: deadItemPath(id) + "/replay", out: &r, mutates: true})
	return r, err
}

// DropDeadItem implements [IngestService].
func (c *Client) DropDeadItem(ctx context.Context, id int64) error {
	return c.call(ctx, call{method: "DELETE", path: deadItemPath(id), mutates: true})
}

func deadItemPath(id int64) string { return "/v1/ingest/dead/" + strconv.FormatInt(id, 10) }
