package entropy

import (
	"context"
	"net/url"
)

var _ RuleService = (*Client)(nil)

// Rules implements [RuleService].
func (c *Client) Rules(ctx context.Context) (RuleReport, error) {
	var report RuleReport
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/rules", out: &report})
	return report, err
}

// ResetRule implements [RuleService].
func (c *Client) ResetRule(ctx context.Context, rule string) error {
	return c.call(ctx, call{method: "POST", path: "/v1/entropy/rules/" + url.PathEscape(rule) + "/reset", mutates: true, repeatable: true})
}

// Suggestions implements [RuleService].
func (c *Client) Suggestions(ctx context.Context, f SuggestionFilter) ([]Suggestion, error) {
	q := url.Values{}
	setText(q, "state", string(f.State))
	setText(q, "rule", f.Rule)
	setText(q, "entity", f.Entity)
	setInt(q, "limit", int64(f.Limit))
	var list SuggestionList
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/suggestions", query: q, out: &list})
	return list.Suggestions, err
}

// AcceptSuggestion implements [RuleService].
func (c *Client) AcceptSuggestion(ctx context.Context, id string) (Suggestion, error) {
	return c.answerSuggestion(ctx, id, "accept")
}

// DismissSuggestion implements [RuleService].
func (c *Client) DismissSuggestion(ctx context.Context, id string) (Suggestion, error) {
	return c.answerSuggestion(ctx, id, "dismiss")
}

func (c *Client) answerSuggestion(ctx context.Context, id, verb string) (Suggestion, error) {
	var s Suggestion
	err := c.call(ctx, call{method: "POST", path: "/v1/entropy/suggestions/" + url.PathEscape(id) + "/" + verb, out: &s, mutates: true, repeatable: true})
	return s, err
}
