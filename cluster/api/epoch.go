package api

import (
	"net/http"
	"strconv"

	"github.com/entropy-fabric/entropy"
)

var errSuperseded = entropy.Errorf(entropy.CodeUnavailable, "this control plane was superseded by a promoted or restored one; it acknowledges nothing any more").
	WithHint("use the newer control plane; the data directory of this one is kept as it is, for inspection")

// meetEpoch learns from a request of a credential that holds here whether
// another control plane has taken over.
func (s *Server) meetEpoch(r *http.Request) error {
	text := r.Header.Get(entropy.HeaderEpoch)
	if text == "" || s.conf.Epoch == 0 {
		return nil
	}
	theirs, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "the header %s is %.40q", entropy.HeaderEpoch, text).WithHint("it is a number; leave it out if you have seen no epoch")
	}
	if theirs <= s.conf.Epoch {
		return nil
	}
	if s.superseded.CompareAndSwap(false, true) {
		s.conf.Superseded(theirs)
	}
	return errSuperseded
}
