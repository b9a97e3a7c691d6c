package api

import (
	"net/http"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) listMembers(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.MemberList{Now: s.conf.Now().UTC(), Members: s.conf.Members()})
}
