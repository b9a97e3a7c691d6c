package entropy

import (
	"context"
	"net/url"
)

// PolicyChange is the body of a change of the policy.
type PolicyChange struct {
	Policy    Policy    `json:"policy"`
	Operation Operation `json:"operation,omitzero"`
}

// Policy implements [Service].
func (c *Client) Policy(ctx context.Context) (Policy, error) {
	var p Policy
	err := c.call(ctx, call{method: "GET", path: "/v1/policy", out: &p})
	return p, err
}

// SetPolicy implements [Service].
func (c *Client) SetPolicy(ctx context.Context, p Policy, op Operation) (Policy, error) {
	var now Policy
	err := c.call(ctx, call{method: "PUT", path: "/v1/policy", body: PolicyChange{p, op}, out: &now, mutates: true, repeatable: op.ID != ""})
	return now, err
}

// Explain implements [Service].
func (c *Client) Explain(ctx context.Context, id JobID) (Explanation, error) {
	var x Explanation
	err := c.call(ctx, call{method: "GET", path: "/v1/jobs/" + url.PathEscape(string(id)) + "/explain", out: &x})
	return x, err
}
