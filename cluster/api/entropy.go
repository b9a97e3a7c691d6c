package api

import (
	"net/http"
	"time"

	"github.com/entropy-fabric/entropy"
)

var errNoAnalyzer = entropy.Errorf(entropy.CodeNotFound, "this control plane runs no analyzer").WithHint("start it without --no-analyzer")

// analyzer returns who knows what surprises, if anybody does.
func (s *Server) analyzer() (entropy.EntropyService, error) {
	if s.conf.Entropy == nil {
		return nil, errNoAnalyzer
	}
	return s.conf.Entropy, nil
}

func (s *Server) getEntropy(w *response, r *http.Request) error {
	a, err := s.analyzer()
	q := newQuery(r)
	digest := q.flag("digest")
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	st, err := a.Entropy(r.Context(), digest)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, st)
}

func (s *Server) listDeviations(w *response, r *http.Request) error {
	a, err := s.analyzer()
	q := newQuery(r)
	f := entropy.DeviationFilter{Entity: q.text("entity"), Step: q.text("step"), Channel: q.text("channel"), Since: q.moment("since"),
		Open: q.flag("open"), Bounded: q.flag("bounded"), Recent: q.flag("recent"), Limit: int(q.number("limit", 1, entropy.MaxIngest))}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	list, err := a.Deviations(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.DeviationList{Deviations: list})
}

func (s *Server) getEntropySeries(w *response, r *http.Request) error {
	a, err := s.analyzer()
	if err := firstOf(noQuery(r), err); err != nil {
		return err
	}
	series, err := a.EntropySeries(r.Context(), r.PathValue("entity"), r.PathValue("step"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, series)
}

func (s *Server) getEntropyEffect(w *response, r *http.Request) error {
	a, err := s.analyzer()
	q := newQuery(r)
	e := entropy.EffectQuery{At: q.moment("at"), Kinds: q.all("kind"), Before: q.span("before"), After: q.span("after")}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	x, err := a.EntropyEffect(r.Context(), e)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, x)
}

// span returns a duration, 0 when there is none.
func (q *query) span(key string) time.Duration {
	s := q.text(key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		q.bad("%s is %.40q and not a duration as in 1h30m", key, s)
	}
	return d
}

func (s *Server) getPrediction(w *response, r *http.Request) error {
	a, err := s.analyzer()
	if err := firstOf(noQuery(r), err); err != nil {
		return err
	}
	p, err := a.Predict(r.Context(), r.PathValue("case"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, p)
}
