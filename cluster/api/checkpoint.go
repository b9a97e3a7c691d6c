package api

import (
	"net/http"
	"time"

	"github.com/entropy-fabric/entropy"
)

// offerCheckpoint asks whether a checkpoint would be taken, or records that it is not.
func (s *Server) offerCheckpoint(w *response, r *http.Request) error {
	var body entropy.CheckpointOffer
	if err := readWorker(w, r, smallBody, &body); err != nil {
		return err
	}
	if err := s.conf.Worker.OfferCheckpoint(r.Context(), body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// commitCheckpoint makes a checkpoint the newest of its job.
func (s *Server) commitCheckpoint(w *response, r *http.Request) error {
	var body entropy.CheckpointCommit
	if err := readWorker(w, r, smallBody, &body); err != nil {
		return err
	}
	if err := checkHash(body.Manifest.SHA256); err != nil {
		return err
	}
	reply, err := s.conf.Worker.CommitCheckpoint(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}

// part reads which part of whose checkpoints a request is about.
func part(r *http.Request) (u entropy.CheckpointUpload, err error) {
	q := newQuery(r)
	job := q.text("job")
	u.JobID, u.AssignmentID, u.SHA256 = entropy.JobID(job), entropy.AssignmentID(r.PathValue("assignment")), r.PathValue("sha256")
	return u, firstOf(q.err(), entropy.ValidateID("job", job), entropy.ValidateID("assignment", string(u.AssignmentID)), checkHash(u.SHA256))
}

// putCheckpointPart stores one part. What is stored already is answered before
// its body is read, so that a client which waits for 100 Continue need not send it.
func (s *Server) putCheckpointPart(w *response, r *http.Request) error {
	u, err := part(r)
	if err != nil {
		return err
	}
	if r.ContentLength < 0 {
		return &statusError{status: http.StatusLengthRequired, Err: entropy.Errorf(entropy.CodeInvalid, "the size of the part is not given").WithHint("send Content-Length")}
	}
	body, err := s.upload(w, r, entropy.MaxCheckpointManifest)
	if err != nil {
		return err
	}
	u.Size = r.ContentLength
	if err := s.conf.Worker.PutCheckpointPart(r.Context(), u, body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) openCheckpointPart(w *response, r *http.Request) error {
	u, err := part(r)
	if err != nil {
		return err
	}
	content, err := s.conf.Worker.OpenCheckpointPart(r.Context(), u.JobID, u.AssignmentID, u.SHA256)
	if err != nil {
		return err
	}
	defer content.Close()
	w.rc.SetWriteDeadline(time.Now().Add(w.idle))
	return copyOut(r.Context(), w, content)
}
