package entropy

import (
	"context"
	"io"
	"net/url"
)

// OfferCheckpoint implements [CheckpointService].
func (c *Client) OfferCheckpoint(ctx context.Context, o CheckpointOffer) error {
	return c.worker(ctx, "checkpoint/offer", o, nil, 0)
}

// PutCheckpointPart implements [CheckpointService]. A part that is stored already
// is not sent, unless it is small.
func (c *Client) PutCheckpointPart(ctx context.Context, u CheckpointUpload, r io.Reader) error {
	return c.upload(ctx, checkpointPath(u.AssignmentID, u.SHA256), url.Values{"job": {string(u.JobID)}}, u.Size, r, nil)
}

// CommitCheckpoint implements [CheckpointService].
func (c *Client) CommitCheckpoint(ctx context.Context, r CheckpointCommit) (CheckpointReply, error) {
	var reply CheckpointReply
	err := c.worker(ctx, "checkpoint/commit", r, &reply, 0)
	return reply, err
}

// OpenCheckpointPart implements [CheckpointService].
func (c *Client) OpenCheckpointPart(ctx context.Context, job JobID, a AssignmentID, sha256 string) (io.ReadCloser, error) {
	resp, err := c.openQuery(ctx, checkpointPath(a, sha256), url.Values{"job": {string(job)}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func checkpointPath(a AssignmentID, sha256 string) string {
	return "/v1/worker/checkpoints/" + url.PathEscape(string(a)) + "/" + url.PathEscape(sha256)
}
