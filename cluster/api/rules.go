package api

import (
	"context"
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// rules returns who turns surprise into action, if anybody does.
func (s *Server) rules() (entropy.RuleService, error) {
	if s.conf.Rules == nil {
		return nil, entropy.Errorf(entropy.CodeNotFound, "this server applies no rules").WithHint("start the control plane without --no-rules")
	}
	return s.conf.Rules, nil
}

func (s *Server) getRules(w *response, r *http.Request) error {
	rules, err := s.rules()
	if err := firstOf(noQuery(r), err); err != nil {
		return err
	}
	report, err := rules.Rules(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, report)
}

func (s *Server) resetRule(w *response, r *http.Request) error {
	rules, err := s.rules()
	name := r.PathValue("name")
	if err := firstOf(noQuery(r), err, entropy.ValidateID("rule", name)); err != nil {
		return err
	}
	if err := rules.ResetRule(r.Context(), name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listSuggestions(w *response, r *http.Request) error {
	rules, err := s.rules()
	q := newQuery(r)
	f := entropy.SuggestionFilter{State: entropy.SuggestionState(q.text("state")), Rule: q.text("rule"), Entity: q.text("entity"), Limit: int(q.number("limit", 0, entropy.MaxBatch))}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	all, err := rules.Suggestions(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.SuggestionList{Suggestions: all})
}

func (s *Server) acceptSuggestion(w *response, r *http.Request) error {
	return s.answerSuggestion(w, r, entropy.RuleService.AcceptSuggestion)
}

func (s *Server) dismissSuggestion(w *response, r *http.Request) error {
	return s.answerSuggestion(w, r, entropy.RuleService.DismissSuggestion)
}

func (s *Server) answerSuggestion(w *response, r *http.Request, do func(entropy.RuleService, context.Context, string) (entropy.Suggestion, error)) error {
	rules, err := s.rules()
	id := r.PathValue("id")
	if err := firstOf(noQuery(r), err, entropy.ValidateID("suggestion", id)); err != nil {
		return err
	}
	out, err := do(rules, r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, out)
}
