package api

import (
	"net/http"

	"github.com/entropy-fabric/entropy"
)

func (s *Server) listWorkers(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	workers, err := s.conf.Service.Workers(r.Context())
	if err != nil {
		return err
	}
	if workers == nil {
		workers = []entropy.WorkerInfo{}
	}
	return answer(w, http.StatusOK, entropy.WorkerList{Workers: workers})
}

func (s *Server) setWorker(w *response, r *http.Request) error {
	name, mode := r.PathValue("name"), entropy.WorkerMode(r.PathValue("mode"))
	if err := entropy.ValidateID("worker name", name); err != nil {
		return err
	}
	if mode != entropy.WorkerDrain && mode != entropy.WorkerResume && mode != entropy.WorkerQuarantine {
		return entropy.Errorf(entropy.CodeNotFound, "there is no worker mode %.40q", string(mode)).WithHint("use drain, resume or quarantine")
	}
	op, err := operation(w, r)
	if err != nil {
		return err
	}
	info, err := s.conf.Service.SetWorker(r.Context(), entropy.WorkerID(name), mode, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, info)
}

func (s *Server) status(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	status, err := s.conf.Service.Status(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, status)
}

func (s *Server) metrics(w *response, r *http.Request) error {
	if s.conf.Metrics == nil {
		return entropy.Errorf(entropy.CodeNotFound, "this control plane has no metrics")
	}
	s.conf.Metrics.ServeHTTP(w, r)
	return nil
}

// healthz says that the process lives and answers. It asks nothing of the
// service: a busy control plane is not to be restarted for being busy.
func (s *Server) healthz(w *response, r *http.Request) error {
	return answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says whether the control plane serves, and why not.
func (s *Server) readyz(w *response, r *http.Request) error {
	if s.stopping.Err() != nil {
		return errStopping
	}
	if err := s.conf.Ready(); err != nil {
		e := entropy.AsError(err)
		return entropy.Errorf(entropy.CodeUnavailable, "not ready: %s", e.Message).WithHint("%s", e.Hint)
	}
	return answer(w, http.StatusOK, map[string]string{"status": "ready"})
}
