package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

var errNoIngest = entropy.Errorf(entropy.CodeNotFound, "this server takes no events from outside").WithHint("ask the control plane itself")

// ingest returns who takes events from outside, if anybody does.
func (s *Server) ingest() (entropy.IngestService, error) {
	if s.conf.Ingest == nil {
		return nil, errNoIngest
	}
	return s.conf.Ingest, nil
}

// maxIngestBody bounds a batch of items, in bytes.
const maxIngestBody = 4 << 20

func (s *Server) postIngest(w *response, r *http.Request) error {
	var body entropy.IngestRequest
	in, err := s.ingest()
	if err := firstOf(noQuery(r), err, readJSON(w, r, maxIngestBody, &body)); err != nil {
		return err
	}
	results, err := in.Ingest(r.Context(), body.Items)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.IngestReply{Results: results})
}

func (s *Server) getLedger(w *response, r *http.Request) error {
	in, err := s.ingest()
	q := newQuery(r)
	f := entropy.LedgerFilter{After: uint64(q.number("after", 0, 1<<62)), Entity: q.text("entity"), Types: q.all("type"),
		From: q.moment("from"), To: q.moment("to"), Limit: int(q.number("limit", 1, entropy.MaxIngest))}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	page, err := in.Ledger(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// moment returns a time in RFC 3339, or the zero time when there is none.
func (q *query) moment(key string) time.Time {
	s := q.text(key)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		q.bad("%s is %.40q and not a time as in 2026-01-31T16:42:00Z", key, s)
	}
	return t
}

func (s *Server) listDeadItems(w *response, r *http.Request) error {
	in, err := s.ingest()
	q := newQuery(r)
	after, limit := q.number("after", 0, 1<<62), int(q.number("limit", 1, entropy.MaxIngest))
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	letters, err := in.DeadItems(r.Context(), after, limit)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.DeadItemList{DeadItems: letters})
}

// deadItem returns the dead letter that the path names.
func deadItem(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, entropy.Errorf(entropy.CodeInvalid, "%.40q is not the number of a dead letter", r.PathValue("id")).WithHint("GET /v1/ingest/dead lists them")
	}
	return id, nil
}

func (s *Server) replayDeadItem(w *response, r *http.Request) error {
	in, err := s.ingest()
	id, bad := deadItem(r)
	if err := firstOf(noQuery(r), err, bad); err != nil {
		return err
	}
	result, err := in.ReplayDeadItem(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, result)
}

func (s *Server) dropDeadItem(w *response, r *http.Request) error {
	in, err := s.ingest()
	id, bad := deadItem(r)
	if err := firstOf(noQuery(r), err, bad); err != nil {
		return err
	}
	if err := in.DropDeadItem(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
