package api

import (
	"net/http"
	"slices"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) holdJob(w *response, r *http.Request) error {
	return changeJob(w, r, s.conf.Service.Hold)
}

func (s *Server) releaseJob(w *response, r *http.Request) error {
	return changeJob(w, r, s.conf.Service.Release)
}

func (s *Server) prioritizeJob(w *response, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	var body struct {
		Priority *int   `json:"priority"`
		ID       string `json:"operation_id"`
		Reason   string `json:"reason"`
	}
	if err := firstOf(noQuery(r), readJSON(w, r, smallBody, &body)); err != nil {
		return err
	}
	if body.Priority == nil {
		return entropy.Errorf(entropy.CodeInvalid, "priority is missing").WithHint(`send {"priority": 10}`)
	}
	op := entropy.Operation{ID: body.ID, Reason: body.Reason}
	if err := checkOperation(op); err != nil {
		return err
	}
	j, err := s.conf.Service.Prioritize(r.Context(), id, *body.Priority, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, j)
}

// bulk carries out a verb on many jobs, a page at a time, with one outcome each.
func (s *Server) bulk(w *response, r *http.Request) error {
	var body entropy.BulkRequest
	if err := firstOf(noQuery(r), readJSON(w, r, batchBody, &body)); err != nil {
		return err
	}
	if err := firstOf(body.Validate(), checkOperation(body.Operation)); err != nil {
		return err
	}
	for _, state := range body.Filter.States {
		if !slices.Contains(entropy.States, state) {
			return entropy.Errorf(entropy.CodeInvalid, "there is no state %.40q", string(state))
		}
	}
	reply, err := s.conf.Service.Bulk(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}
