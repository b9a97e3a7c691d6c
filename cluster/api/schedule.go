package api

import (
	"net/http"
	"net/url"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) createSchedule(w *response, r *http.Request) error {
	var body entropy.ScheduleRequest
	if err := firstOf(noQuery(r), readJSON(w, r, batchBody, &body)); err != nil {
		return err
	}
	if err := checkOperation(body.Operation); err != nil {
		return err
	}
	info, err := s.conf.Service.CreateSchedule(r.Context(), body.Schedule, body.Operation)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/schedules/"+url.PathEscape(info.Name))
	return answer(w, http.StatusOK, info)
}

func (s *Server) listSchedules(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	all, err := s.conf.Service.Schedules(r.Context())
	if err != nil {
		return err
	}
	if all == nil {
		all = []entropy.ScheduleInfo{}
	}
	return answer(w, http.StatusOK, entropy.ScheduleList{Schedules: all})
}

// scheduleName returns the schedule that the path names.
func scheduleName(r *http.Request) (string, error) {
	name := r.PathValue("name")
	return name, entropy.ValidateID("schedule name", name)
}

func (s *Server) getSchedule(w *response, r *http.Request) error {
	name, err := scheduleName(r)
	q := newQuery(r)
	next := int(q.number("next", 0, entropy.MaxUpcoming))
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	info, err := s.conf.Service.Schedule(r.Context(), name, next)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, info)
}

func (s *Server) setSchedule(w *response, r *http.Request) error {
	name, err := scheduleName(r)
	if err != nil {
		return err
	}
	mode := entropy.ScheduleMode(r.PathValue("mode"))
	if mode != entropy.SchedulePause && mode != entropy.ScheduleResume && mode != entropy.ScheduleDelete {
		return entropy.Errorf(entropy.CodeNotFound, "there is no schedule mode %.40q", string(mode)).WithHint("use pause, resume or delete")
	}
	op, err := operation(w, r)
	if err != nil {
		return err
	}
	info, err := s.conf.Service.SetSchedule(r.Context(), name, mode, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, info)
}

func (s *Server) fireSchedule(w *response, r *http.Request) error {
	name, err := scheduleName(r)
	if err != nil {
		return err
	}
	op, err := operation(w, r)
	if err != nil {
		return err
	}
	result, err := s.conf.Service.FireSchedule(r.Context(), name, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, result)
}
