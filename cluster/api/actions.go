package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// requestAction takes an envelope as it is: what this program does not know in it
// is kept. With wait, it answers when the action has ended, or the wait.
func (s *Server) requestAction(w *response, r *http.Request) error {
	var envelope json.RawMessage
	q := newQuery(r)
	wait := q.wait("wait")
	if err := firstOf(q.err(), readJSON(w, r, entropy.MaxActionSize+smallBody, &envelope)); err != nil {
		return err
	}
	result, err := s.conf.Service.RequestAction(r.Context(), entropy.ActionRequest{Envelope: envelope})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/actions/"+url.PathEscape(string(result.Action.ID)))
	if wait > 0 && !result.Action.State.Terminal() {
		info, err := s.conf.Service.WaitAction(r.Context(), result.Action.ID, wait)
		if err == nil {
			result.Action = info
		} // else: it is recorded, and that is the answer
	}
	return answer(w, http.StatusOK, result)
}

func (s *Server) listActions(w *response, r *http.Request) error {
	q := newQuery(r)
	f := entropy.ActionFilter{Command: q.text("command"), Tenant: q.text("tenant"), Target: q.text("entity_id"),
		Limit: int(q.number("limit", 0, entropy.MaxBatch)), Cursor: q.text("cursor")}
	for _, v := range q.all("state") {
		for name := range strings.SplitSeq(v, ",") {
			state, err := entropy.ParseActionState(name)
			if err != nil {
				q.bad("there is no state %.40q", name)
			}
			f.States = append(f.States, state)
		}
	}
	if err := q.err(); err != nil {
		return err
	}
	page, err := s.conf.Service.Actions(r.Context(), f)
	if err != nil {
		return err
	}
	if page.Actions == nil {
		page.Actions = []*entropy.Action{}
	}
	return answer(w, http.StatusOK, page)
}

// actionID returns the action that the path names.
func actionID(r *http.Request) (entropy.ActionID, error) {
	id := r.PathValue("id")
	return entropy.ActionID(id), entropy.ValidateID("action id", id)
}

// getAction answers with one action, once it has ended when wait says so, or with
// its events as a stream that ends with it.
func (s *Server) getAction(w *response, r *http.Request) error {
	id, err := actionID(r)
	if err == nil && acceptsStream(r) {
		return s.streamAction(w, r, id)
	}
	q := newQuery(r)
	wait := q.wait("wait")
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	var info entropy.ActionInfo
	if wait > 0 {
		info, err = s.conf.Service.WaitAction(r.Context(), id, wait)
	} else {
		info, err = s.conf.Service.Action(r.Context(), id)
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, info)
}

// streamAction streams the events of one action from its first, or from where
// Last-Event-ID says.
func (s *Server) streamAction(w *response, r *http.Request, id entropy.ActionID) error {
	f := entropy.EventFilter{Entity: entropy.Entity(entropy.KindAction, string(id))}
	if err := noQuery(r); err != nil {
		return err
	}
	if _, err := s.conf.Service.Action(r.Context(), id); err != nil {
		return err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		pos, err := entropy.ParsePosition(last)
		if err != nil {
			return err
		}
		f.After = pos
	}
	return s.streamEvents(w, r, f, func(typ string) bool {
		return typ == entropy.ActionSucceededType || typ == entropy.ActionFailedType || typ == entropy.ActionCanceledType
	})
}

func (s *Server) setAction(w *response, r *http.Request) error {
	id, err := actionID(r)
	if err != nil {
		return err
	}
	verb := entropy.ActionVerb(r.PathValue("verb"))
	if verb != entropy.ActionApprove && verb != entropy.ActionReject && verb != entropy.ActionCancel {
		return entropy.Errorf(entropy.CodeNotFound, "%.40q is nothing that can be done to an action", string(verb)).WithHint("use approve, reject or cancel")
	}
	op, err := operation(w, r)
	if err != nil {
		return err
	}
	info, err := s.conf.Service.SetAction(r.Context(), id, verb, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, info)
}

func (s *Server) listDeadLetters(w *response, r *http.Request) error {
	q := newQuery(r)
	f := entropy.DeadLetterFilter{All: q.flag("all"), Command: q.text("command"), Limit: int(q.number("limit", 0, entropy.MaxBatch)), Cursor: q.text("cursor")}
	if err := q.err(); err != nil {
		return err
	}
	page, err := s.conf.Service.DeadLetters(r.Context(), f)
	if err != nil {
		return err
	}
	if page.Letters == nil {
		page.Letters = []*entropy.DeadLetter{}
	}
	return answer(w, http.StatusOK, page)
}

// deadLetterID returns the dead letter that the path names.
func deadLetterID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	return id, entropy.ValidateID("dead letter", id)
}

func (s *Server) getDeadLetter(w *response, r *http.Request) error {
	id, err := deadLetterID(r)
	if err := firstOf(err, noQuery(r)); err != nil {
		return err
	}
	d, err := s.conf.Service.DeadLetter(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, d)
}

// deadLetterOperation returns the dead letter that the path names, and what is to be
// done to it.
func deadLetterOperation(w *response, r *http.Request) (id string, op entropy.Operation, err error) {
	if id, err = deadLetterID(r); err == nil {
		op, err = operation(w, r)
	}
	return id, op, err
}

func (s *Server) replayDeadLetter(w *response, r *http.Request) error {
	id, op, err := deadLetterOperation(w, r)
	if err != nil {
		return err
	}
	result, err := s.conf.Service.ReplayDeadLetter(r.Context(), id, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, result)
}

func (s *Server) dropDeadLetter(w *response, r *http.Request) error {
	id, op, err := deadLetterOperation(w, r)
	if err != nil {
		return err
	}
	d, err := s.conf.Service.DropDeadLetter(r.Context(), id, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, d)
}
