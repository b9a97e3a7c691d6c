package api

import (
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// analytics returns who answers questions about the ledger, if anybody does.
func (s *Server) analytics() (entropy.AnalyticsService, error) {
	if s.conf.Analytics == nil {
		return nil, entropy.Errorf(entropy.CodeNotFound, "this server keeps no ledger").WithHint("ask the control plane itself")
	}
	return s.conf.Analytics, nil
}

func (s *Server) getActionStats(w *response, r *http.Request) error {
	l, err := s.analytics()
	q := newQuery(r)
	f := entropy.ActionStatsFilter{Command: q.text("command"), Tenant: q.text("tenant"), From: q.moment("from"), To: q.moment("to"), Limit: int(q.number("limit", 1, entropy.MaxAnalytics))}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	all, err := l.ActionStats(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.ActionStatsList{Actions: all})
}

// stepFilter reads the question of which steps.
func stepFilter(r *http.Request) (entropy.StepFilter, error) {
	q := newQuery(r)
	f := entropy.StepFilter{Entity: q.text("entity"), Step: q.text("step"), From: q.moment("from"), To: q.moment("to"),
		Least: int(q.number("least", 1, 1_000_000)), Limit: int(q.number("limit", 1, entropy.MaxAnalytics))}
	return f, q.err()
}

func (s *Server) getSteps(w *response, r *http.Request) error {
	l, err := s.analytics()
	f, wrong := stepFilter(r)
	if err := firstOf(err, wrong); err != nil {
		return err
	}
	all, err := l.Steps(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.StepCountsList{Steps: all})
}

func (s *Server) getTransitions(w *response, r *http.Request) error {
	l, err := s.analytics()
	f, wrong := stepFilter(r)
	if err := firstOf(err, wrong); err != nil {
		return err
	}
	all, err := l.Transitions(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.TransitionCountList{Transitions: all})
}
