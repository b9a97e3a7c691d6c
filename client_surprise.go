package entropy

import (
	"context"
	"net/url"
	"time"
)

var _ EntropyService = (*Client)(nil)

// Entropy implements [EntropyService].
func (c *Client) Entropy(ctx context.Context, digest bool) (EntropyStatus, error) {
	var st EntropyStatus
	q := url.Values{}
	if digest {
		q.Set("digest", "true")
	}
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy", query: q, out: &st})
	return st, err
}

// Deviations implements [EntropyService].
func (c *Client) Deviations(ctx context.Context, f DeviationFilter) ([]Deviation, error) {
	var list DeviationList
	q := url.Values{}
	setInt(q, "limit", int64(f.Limit))
	for key, s := range map[string]string{"entity": f.Entity, "step": f.Step, "channel": f.Channel} {
		if s != "" {
			q.Set(key, s)
		}
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	for key, on := range map[string]bool{"open": f.Open, "bounded": f.Bounded, "recent": f.Recent} {
		if on {
			q.Set(key, "true")
		}
	}
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/deviations", query: q, out: &list})
	return list.Deviations, err
}

// EntropySeries implements [EntropyService].
func (c *Client) EntropySeries(ctx context.Context, entity, step string) (EntropySeries, error) {
	var s EntropySeries
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/series/" + url.PathEscape(entity) + "/" + url.PathEscape(step), out: &s})
	return s, err
}

// EntropyEffect implements [EntropyService].
func (c *Client) EntropyEffect(ctx context.Context, e EffectQuery) (EntropyEffect, error) {
	var x EntropyEffect
	q := url.Values{"at": {e.At.UTC().Format(time.RFC3339Nano)}, "kind": e.Kinds}
	for key, d := range map[string]time.Duration{"before": e.Before, "after": e.After} {
		if d != 0 {
			q.Set(key, d.String())
		}
	}
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/effect", query: q, out: &x})
	return x, err
}

// Predict implements [EntropyService].
func (c *Client) Predict(ctx context.Context, id string) (EntropyPrediction, error) {
	var p EntropyPrediction
	err := c.call(ctx, call{method: "GET", path: "/v1/entropy/predictions/" + url.PathEscape(id), out: &p})
	return p, err
}
