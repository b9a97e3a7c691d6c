package entropy

import "context"

// Members returns the nodes that the control plane knows by gossip: control planes
// first, then by name. The list is empty when it takes no part in gossip.
func (c *Client) Members(ctx context.Context) (MemberList, error) {
	var list MemberList
	err := c.call(ctx, call{method: "GET", path: "/v1/members", out: &list})
	return list, err
}
