package entropy

import (
	"context"
	"net/http"
	"net/url"
)

// Join asks the control plane to let this worker in, with the join token and the
// worker's key of the [ClientConfig], and returns what the worker keeps for good.
// It may be repeated: the same key gets the same answer, also when the token is no
// longer valid. CodeConflict means that the name belongs to another key.
func (c *Client) Join(ctx context.Context, r JoinRequest) (Joined, error) {
	var reply Joined
	err := c.introduce(ctx, call{method: "POST", path: "/v1/worker/join", body: r, out: &reply, mutates: true, repeatable: true})
	return reply, err
}

// introduce makes a call that presents the join token and the worker's key, and,
// when the token is no longer valid, the key alone: a worker that the fabric knows
// needs no token.
func (c *Client) introduce(ctx context.Context, req call) error {
	if c.conf.Token == "" || c.conf.WorkerKey == "" {
		return c.call(ctx, req)
	}
	req.credential = c.conf.Token
	req.header = http.Header{HeaderWorkerKey: {c.conf.WorkerKey}}
	err := c.call(ctx, req)
	if ErrorCode(err) == CodeUnauthorized {
		req.credential, req.header = c.conf.WorkerKey, nil
		if again := c.call(ctx, req); ErrorCode(again) != CodeUnauthorized {
			return again
		}
	}
	return err
}

// CreateToken makes a token. The answer holds its text, which cannot be had
// again. A call whose answer was lost may have made one: it shows in Tokens, is of
// no use to anybody, and may be revoked.
func (c *Client) CreateToken(ctx context.Context, spec TokenSpec) (CreatedToken, error) {
	var t CreatedToken
	err := c.call(ctx, call{method: "POST", path: "/v1/tokens", body: spec, out: &t, mutates: true})
	return t, err
}

// Tokens returns every token, revoked ones too, oldest first.
func (c *Client) Tokens(ctx context.Context) ([]TokenInfo, error) {
	var list TokenList
	err := c.call(ctx, call{method: "GET", path: "/v1/tokens", out: &list})
	return list.Tokens, err
}

// RotateToken gives a token a new secret. The answer holds its text, which cannot
// be had again; the old secret stays good for the rotation's overlap. CodeConflict
// means that an earlier rotation's overlap is not over, or that the token is no
// longer good. If the answer was lost, make another token while the old secret is
// good.
func (c *Client) RotateToken(ctx context.Context, id string, r TokenRotation) (CreatedToken, error) {
	var t CreatedToken
	err := c.call(ctx, call{method: "POST", path: "/v1/tokens/" + url.PathEscape(id) + "/rotate", body: r, out: &t, mutates: true})
	return t, err
}

// RevokeWorker ends a worker's own key: its next call is refused, calls that it
// holds open end within a second, and its leases run to their end. The name stays
// taken. Doing it again changes nothing.
func (c *Client) RevokeWorker(ctx context.Context, id WorkerID) (RevokedWorker, error) {
	var r RevokedWorker
	err := c.call(ctx, call{method: "POST", path: "/v1/workers/" + url.PathEscape(string(id)) + "/revoke", out: &r, mutates: true, repeatable: true})
	return r, err
}

// RevokeToken ends a token: the next call with it is refused, and streams that it
// holds open end within a second. Workers that joined with it keep their own
// keys. Revoking it again changes nothing.
func (c *Client) RevokeToken(ctx context.Context, id string) (TokenInfo, error) {
	var t TokenInfo
	err := c.call(ctx, call{method: "POST", path: "/v1/tokens/" + url.PathEscape(id) + "/revoke", out: &t, mutates: true, repeatable: true})
	return t, err
}
