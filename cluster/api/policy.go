package api

import (
	"net/http"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) getPolicy(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	p, err := s.conf.Service.Policy(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, p)
}

func (s *Server) setPolicy(w *response, r *http.Request) error {
	var change entropy.PolicyChange
	if err := firstOf(noQuery(r), readJSON(w, r, batchBody, &change)); err != nil {
		return err
	}
	p, err := s.conf.Service.SetPolicy(r.Context(), change.Policy, change.Operation)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, p)
}

func (s *Server) explainJob(w *response, r *http.Request) error {
	id, err := jobID(r)
	if err := firstOf(err, noQuery(r)); err != nil {
		return err
	}
	x, err := s.conf.Service.Explain(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, x)
}
