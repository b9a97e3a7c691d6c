package entropy

import (
	"net/http"
	"strconv"
)

// HeaderEpoch is on every answer of a control plane: the epoch of its history. A
// client that has seen a higher one than that of a control plane sends it along,
// so that one which was superseded learns of it.
const HeaderEpoch = "Entropy-Epoch"

// sendEpoch adds the highest epoch that was seen to a request.
func (c *Client) sendEpoch(req *http.Request) {
	if e := c.epoch.Load(); e > 0 {
		req.Header[HeaderEpoch] = []string{strconv.FormatUint(e, 10)}
	}
}

// meetEpoch refuses an answer of a history that has been superseded, and
// remembers a new one.
func (c *Client) meetEpoch(resp *http.Response) error {
	theirs, err := strconv.ParseUint(resp.Header.Get(HeaderEpoch), 10, 64)
	if err != nil {
		return nil // not a control plane, or nothing it vouches for: the answer's own check says so
	}
	for {
		seen := c.epoch.Load()
		switch {
		case theirs == seen:
			return nil
		case theirs < seen:
			return Errorf(CodeUnavailable, "the control plane at %s is of epoch %d, and epoch %d has been seen: it was superseded by a promoted or restored one", c.base(), theirs, seen).
				WithHint("point to the newer control plane with --server; the older one has to be stopped")
		case c.epoch.CompareAndSwap(seen, theirs):
			if c.conf.OnEpoch != nil {
				c.conf.OnEpoch(theirs)
			}
			return nil
		}
	}
}
