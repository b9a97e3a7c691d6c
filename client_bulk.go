package entropy

import "context"

// Hold implements [Service].
func (c *Client) Hold(ctx context.Context, id JobID, op Operation) (*Job, error) {
	return c.act(ctx, id, "hold", op)
}

// Release implements [Service].
func (c *Client) Release(ctx context.Context, id JobID, op Operation) (*Job, error) {
	return c.act(ctx, id, "release", op)
}

// Prioritize implements [Service].
func (c *Client) Prioritize(ctx context.Context, id JobID, priority int, op Operation) (*Job, error) {
	j := new(Job)
	err := c.call(ctx, call{method: "POST", path: jobPath(id, "/prioritize"), body: PriorityRequest{Priority: priority, ID: op.ID, Reason: op.Reason},
		out: j, mutates: true, repeatable: op.ID != ""})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Bulk implements [Service].
func (c *Client) Bulk(ctx context.Context, r BulkRequest) (BulkReply, error) {
	var reply BulkReply
	err := c.call(ctx, call{method: "POST", path: "/v1/bulk", body: r, out: &reply, mutates: !r.DryRun, repeatable: r.DryRun || r.Operation.ID != ""})
	return reply, err
}
