package api

import (
	"context"
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// Pairings lets workers in that have no token, when a person has compared a code.
// It bounds what strangers may ask of it. It is safe for concurrent use.
type Pairings interface {
	// Start begins a pairing with a worker that calls from an address.
	Start(ctx context.Context, r entropy.PairRequest, address string) (entropy.PairOffer, error)
	// Reveal takes what the worker had committed to.
	Reveal(ctx context.Context, id, nonce string) error
	// State returns whether a pairing was confirmed.
	State(ctx context.Context, id string) (entropy.PairState, error)
	// List returns the pairings that wait for a person, oldest first.
	List(ctx context.Context) ([]entropy.Pairing, error)
	// Confirm lets in the worker whose screen shows the code.
	Confirm(ctx context.Context, code string) (entropy.Pairing, error)
}

// strangerBody bounds what is read of who has shown no credential, in bytes.
const strangerBody = 4 << 10

var errNoPairing = entropy.Errorf(entropy.CodeNotFound, "this control plane lets no worker in without a token").
	WithHint("give the worker a join token (entropy token create --role join), or start the control plane with --trust-lan")

// pairings returns who pairs, unless nobody does, or what is asked is not whole.
func (s *Server) pairings(r *http.Request) (Pairings, error) {
	if err := noQuery(r); err != nil {
		return nil, err
	}
	if s.superseded.Load() {
		return nil, errSuperseded
	}
	if s.conf.Pairings == nil {
		return nil, errNoPairing
	}
	return s.conf.Pairings, nil
}

// readStranger reads the body of who has shown no credential: a small one, that
// says its length and comes within the server's timeout.
func readStranger(w *response, r *http.Request, v any) error {
	if r.ContentLength < 0 {
		return entropy.Errorf(entropy.CodeInvalid, "the length of the body is not said").WithHint("send Content-Length")
	}
	return readJSON(w, r, strangerBody, v)
}

func (s *Server) startPairing(w *response, r *http.Request) error {
	var body entropy.PairRequest
	p, err := s.pairings(r)
	if err != nil {
		return err
	}
	if err := readStranger(w, r, &body); err != nil {
		return err
	}
	offer, err := p.Start(r.Context(), body, remote(r))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, offer)
}

func (s *Server) revealPairing(w *response, r *http.Request) error {
	var body entropy.PairReveal
	p, err := s.pairings(r)
	if err != nil {
		return err
	}
	if err := readStranger(w, r, &body); err != nil {
		return err
	}
	if err := p.Reveal(r.Context(), r.PathValue("id"), body.Nonce); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) pairingState(w *response, r *http.Request) error {
	p, err := s.pairings(r)
	if err != nil {
		return err
	}
	state, err := p.State(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, state)
}

func (s *Server) listPairings(w *response, r *http.Request) error {
	p, err := s.pairings(r)
	if err != nil {
		return err
	}
	list, err := p.List(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.PairingList{Pairings: list})
}

func (s *Server) confirmPairing(w *response, r *http.Request) error {
	var body entropy.PairConfirm
	p, err := s.pairings(r)
	if err := firstOf(err, readJSON(w, r, smallBody, &body)); err != nil {
		return err
	}
	paired, err := p.Confirm(r.Context(), body.Code)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, paired)
}
