package entropy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"time"
)

// worker makes one call of the worker protocol. Every such call may be repeated:
// each names the sequence number or the assignments that make it harmless.
func (c *Client) worker(ctx context.Context, verb string, body, out any, wait time.Duration) error {
	return c.call(ctx, call{method: "POST", path: "/v1/worker/" + verb, body: body, out: out, wait: wait,
		mutates: true, repeatable: true})
}

// Register implements [WorkerService]. It presents the join token and the
// worker's key, and, when the token is no longer valid, the key alone: a worker
// that the fabric knows needs no token.
func (c *Client) Register(ctx context.Context, r Registration) (Registered, error) {
	var reply Registered
	err := c.introduce(ctx, call{method: "POST", path: "/v1/worker/register", body: r, out: &reply, mutates: true, repeatable: true})
	return reply, err
}

// Claim implements [WorkerService].
func (c *Client) Claim(ctx context.Context, r ClaimRequest) (ClaimReply, error) {
	var reply ClaimReply
	r.Wait = min(r.Wait, Duration(MaxWait))
	err := c.worker(ctx, "claim", r, &reply, r.Wait.D())
	return reply, err
}

// Ack implements [WorkerService].
func (c *Client) Ack(ctx context.Context, r AckRequest) ([]ItemResult, error) {
	var reply ItemResults
	err := c.worker(ctx, "ack", r, &reply, 0)
	if err == nil && len(reply.Results) != len(r.Items) {
		err = c.miscount(len(r.Items), len(reply.Results))
	}
	return reply.Results, err
}

// Refuse implements [WorkerService].
func (c *Client) Refuse(ctx context.Context, r RefuseRequest) ([]ItemResult, error) {
	var reply ItemResults
	err := c.worker(ctx, "refuse", r, &reply, 0)
	if err == nil && len(reply.Results) != len(r.Items) {
		err = c.miscount(len(r.Items), len(reply.Results))
	}
	return reply.Results, err
}

// Heartbeat implements [WorkerService].
func (c *Client) Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatReply, error) {
	var reply HeartbeatReply
	err := c.worker(ctx, "heartbeat", h, &reply, 0)
	return reply, err
}

// Directives implements [WorkerService].
func (c *Client) Directives(ctx context.Context, q DirectivesRequest) (Directives, error) {
	var reply Directives
	q.Wait = min(q.Wait, Duration(MaxWait))
	err := c.worker(ctx, "directives", q, &reply, q.Wait.D())
	return reply, err
}

// Complete implements [WorkerService]. A batch too large for one request is sent
// in several; on an error, the replies of those that went before are returned
// with it, and repeating the whole is harmless.
func (c *Client) Complete(ctx context.Context, r CompleteRequest) ([]CompletionReply, error) {
	items := make([]json.RawMessage, len(r.Items))
	for i := range r.Items {
		b, err := json.Marshal(&r.Items[i])
		if err != nil {
			return nil, Errorf(CodeInvalid, "completion of %s: %v", r.Items[i].AssignmentID, err)
		}
		items[i] = b
	}
	replies := make([]CompletionReply, 0, len(items))
	for _, part := range splitBodies(items) {
		var reply CompletionReplies
		body := struct {
			Incarnation uint64            `json:"incarnation"`
			Items       []json.RawMessage `json:"items"`
		}{r.Incarnation, part}
		err := c.worker(ctx, "complete", body, &reply, 0)
		if err == nil && len(reply.Results) != len(part) {
			err = c.miscount(len(part), len(reply.Results))
		}
		if err != nil {
			return replies, err
		}
		replies = append(replies, reply.Results...)
	}
	return replies, nil
}

// StageArtifact implements [WorkerService]. It sends what r gives until its end.
func (c *Client) StageArtifact(ctx context.Context, u ArtifactUpload, r io.Reader) (int64, error) {
	q := url.Values{"job": {string(u.JobID)}, "size": {strconv.FormatInt(u.Size, 10)}, "offset": {strconv.FormatInt(u.Offset, 10)}}
	path := "/v1/worker/artifacts/" + url.PathEscape(string(u.AssignmentID)) + "/" + url.PathEscape(u.SHA256)
	var reply Stored
	err := c.upload(ctx, path, q, -1, r, &reply)
	return reply.Size, err
}

// AppendLog implements [WorkerService]. More than MaxLogPiece bytes are sent in
// several requests.
func (c *Client) AppendLog(ctx context.Context, u LogUpload, p []byte) (int64, error) {
	path := "/v1/worker/logs/" + url.PathEscape(string(u.AssignmentID)) + "/" + url.PathEscape(u.Stream)
	for {
		n := min(len(p), MaxLogPiece)
		q := url.Values{"job": {string(u.JobID)}, "offset": {strconv.FormatInt(u.Offset, 10)}}
		var reply Stored
		if err := c.upload(ctx, path, q, int64(n), bytes.NewReader(p[:n]), &reply); err != nil {
			return reply.Size, err
		}
		u.Offset, p = u.Offset+int64(n), p[n:]
		if len(p) == 0 || reply.Size < u.Offset {
			return reply.Size, nil
		}
	}
}

// OpenBlob implements [WorkerService].
func (c *Client) OpenBlob(ctx context.Context, sha256 string) (io.ReadCloser, error) {
	resp, err := c.open(ctx, "/v1/worker/blobs/"+url.PathEscape(sha256))
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Leave implements [WorkerService].
func (c *Client) Leave(ctx context.Context, r LeaveRequest) error {
	return c.worker(ctx, "leave", r, nil, 0)
}
