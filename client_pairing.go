package entropy

import (
	"context"
	"net/url"
)

// StartPairing asks to be let in without a token. No credential is sent.
func (c *Client) StartPairing(ctx context.Context, r PairRequest) (PairOffer, error) {
	var o PairOffer
	err := c.call(ctx, call{method: "POST", path: "/v1/pairing", body: r, out: &o, mutates: true})
	return o, err
}

// RevealPairing shows what the commitment of a pairing was of. It may be repeated.
func (c *Client) RevealPairing(ctx context.Context, id, nonce string) error {
	return c.call(ctx, call{method: "POST", path: "/v1/pairing/" + url.PathEscape(id) + "/reveal", body: PairReveal{Nonce: nonce}, mutates: true, repeatable: true})
}

// PairingState returns whether a pairing was confirmed; CodeNotFound when it has
// expired, or the control plane was started anew.
func (c *Client) PairingState(ctx context.Context, id string) (PairState, error) {
	var s PairState
	err := c.call(ctx, call{method: "GET", path: "/v1/pairing/" + url.PathEscape(id), out: &s})
	return s, err
}

// Pairings returns the workers that wait to be let in without a token.
func (c *Client) Pairings(ctx context.Context) ([]Pairing, error) {
	var list PairingList
	err := c.call(ctx, call{method: "GET", path: "/v1/pairings", out: &list})
	return list.Pairings, err
}

// ConfirmPairing lets in the worker whose screen shows the code. CodeNotFound means
// that no worker waits with it.
func (c *Client) ConfirmPairing(ctx context.Context, code string) (Pairing, error) {
	var p Pairing
	err := c.call(ctx, call{method: "POST", path: "/v1/pairings/confirm", body: PairConfirm{Code: code}, out: &p, mutates: true, repeatable: true})
	return p, err
}
