package api

import (
	"context"
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// Keys rotates the keys that the cluster's members share. It is safe for concurrent
// use.
type Keys interface {
	// Rotate begins a rotation, or finds one under way, and returns how far it is.
	Rotate(ctx context.Context) (entropy.KeyRotation, error)
	// Rotation returns how far a rotation is.
	Rotation(ctx context.Context) (entropy.KeyRotation, error)
}

func (s *Server) listMembers(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.MemberList{Now: s.conf.Now().UTC(), Members: s.conf.Members()})
}

func (s *Server) rotateKey(w *response, r *http.Request) error {
	return s.rotation(w, r, Keys.Rotate)
}

func (s *Server) keyRotation(w *response, r *http.Request) error {
	return s.rotation(w, r, Keys.Rotation)
}

func (s *Server) rotation(w *response, r *http.Request, do func(Keys, context.Context) (entropy.KeyRotation, error)) error {
	if err := noQuery(r); err != nil {
		return err
	}
	if s.conf.Keys == nil {
		return entropy.Errorf(entropy.CodeNotFound, "this server has no cluster's keys").WithHint("ask the control plane itself")
	}
	state, err := do(s.conf.Keys, r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, state)
}
