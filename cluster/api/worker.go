package api

import (
	"bytes"
	"math"
	"net/http"
	"time"

	"github.com/entropy-fabric/entropy"
)

// readWorker reads the body of a worker's call.
func readWorker(w *response, r *http.Request, limit int64, v any) error {
	return firstOf(noQuery(r), readJSON(w, r, limit, v))
}

// registerWorker introduces a worker. The name and the key come from the
// credential; the body may only agree.
func (s *Server) registerWorker(w *response, r *http.Request) error {
	var reg entropy.Registration
	if err := readWorker(w, r, batchBody, &reg); err != nil {
		return err
	}
	p := entropy.PrincipalFrom(r.Context())
	if p.KeyHash == "" {
		return entropy.Errorf(entropy.CodeInvalid, "a join token alone does not say which worker joins").
			WithHint("send the worker's own key in the header %s", entropy.HeaderWorkerKey)
	}
	if reg.KeyHash != p.KeyHash {
		return entropy.Errorf(entropy.CodeForbidden, "key_hash is not the hash of the key that was presented").
			WithHint("send the SHA-256, in hex, of the worker's own key")
	}
	if p.Role == entropy.RoleJoin && s.conf.Tokens != nil { // nobody registers past the token's limits
		who, err := s.joining(r, reg.Hostname)
		if err != nil {
			return err
		}
		if _, err := s.conf.Tokens.Join(r.Context(), who); err != nil {
			return err
		}
	}
	reply, err := s.conf.Worker.Register(r.Context(), reg)
	if err != nil {
		return err
	}
	s.conf.Auth.SetWorkerKey(reply.WorkerID, p.KeyHash)
	return answer(w, http.StatusOK, reply)
}

// clampWait cuts a wait to what one request may take.
func clampWait(d entropy.Duration) entropy.Duration {
	return max(0, min(d, entropy.Duration(entropy.MaxWait)))
}

func (s *Server) claim(w *response, r *http.Request) error {
	var body entropy.ClaimRequest
	if err := readWorker(w, r, smallBody, &body); err != nil {
		return err
	}
	if body.Want < 0 || body.Want > entropy.MaxBatch {
		return entropy.Errorf(entropy.CodeInvalid, "want is %d", body.Want).WithHint("ask for 0 to %d assignments", entropy.MaxBatch)
	}
	body.Wait = clampWait(body.Wait)
	reply, err := s.conf.Worker.Claim(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}

func (s *Server) ack(w *response, r *http.Request) error {
	var body entropy.AckRequest
	if err := readWorker(w, r, batchBody, &body); err != nil {
		return err
	}
	if err := checkBatch("items", len(body.Items)); err != nil {
		return err
	}
	results, err := s.conf.Worker.Ack(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.ItemResults{Results: results})
}

func (s *Server) refuse(w *response, r *http.Request) error {
	var body entropy.RefuseRequest
	if err := readWorker(w, r, 4*batchBody, &body); err != nil {
		return err
	}
	if err := checkBatch("items", len(body.Items)); err != nil {
		return err
	}
	results, err := s.conf.Worker.Refuse(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.ItemResults{Results: results})
}

func (s *Server) heartbeat(w *response, r *http.Request) error {
	var body entropy.Heartbeat
	if err := readWorker(w, r, 4*batchBody, &body); err != nil {
		return err
	}
	reply, err := s.conf.Worker.Heartbeat(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}

func (s *Server) directives(w *response, r *http.Request) error {
	var body entropy.DirectivesRequest
	if err := readWorker(w, r, smallBody, &body); err != nil {
		return err
	}
	body.Wait = clampWait(body.Wait)
	reply, err := s.conf.Worker.Directives(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}

func (s *Server) complete(w *response, r *http.Request) error {
	var body entropy.CompleteRequest
	if err := readWorker(w, r, largeBody, &body); err != nil {
		return err
	}
	if err := checkBatch("items", len(body.Items)); err != nil {
		return err
	}
	for i := range body.Items {
		if n := len(body.Items[i].Result); n > entropy.MaxResult {
			return entropy.Errorf(entropy.CodeTooLarge, "items[%d].result has %d bytes, at most %d are allowed", i, n, entropy.MaxResult).
				WithHint("leave large results as an artifact")
		}
	}
	replies, err := s.conf.Worker.Complete(r.Context(), body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.CompletionReplies{Results: replies})
}

func (s *Server) leave(w *response, r *http.Request) error {
	var body entropy.LeaveRequest
	if err := readWorker(w, r, smallBody, &body); err != nil {
		return err
	}
	if err := s.conf.Worker.Leave(r.Context(), body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// placement reads the query of an upload: the job, and where the piece belongs.
func placement(q *query) (entropy.JobID, int64) {
	job, offset := q.text("job"), q.number("offset", 0, math.MaxInt64)
	if err := entropy.ValidateID("job", job); err != nil {
		q.bad("%v", err)
	}
	return entropy.JobID(job), offset
}

func (s *Server) stageArtifact(w *response, r *http.Request) error {
	q := newQuery(r)
	u := entropy.ArtifactUpload{AssignmentID: entropy.AssignmentID(r.PathValue("assignment")), SHA256: r.PathValue("sha256")}
	u.JobID, u.Offset = placement(q)
	u.Size = q.number("size", 0, s.conf.MaxFile)
	if u.Offset > u.Size {
		q.bad("offset %d is past the size %d", u.Offset, u.Size)
	}
	if err := firstOf(q.err(), checkHash(u.SHA256), entropy.ValidateID("assignment", string(u.AssignmentID))); err != nil {
		return err
	}
	body, err := s.upload(w, r, u.Size-u.Offset)
	if err != nil {
		return err
	}
	staged, err := s.conf.Worker.StageArtifact(r.Context(), u, body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.Stored{Size: staged})
}

func (s *Server) appendLog(w *response, r *http.Request) error {
	q := newQuery(r)
	u := entropy.LogUpload{AssignmentID: entropy.AssignmentID(r.PathValue("assignment")), Stream: r.PathValue("stream")}
	u.JobID, u.Offset = placement(q)
	if u.Stream != "stdout" && u.Stream != "stderr" {
		q.bad("there is no stream %.40q", u.Stream)
	}
	if err := firstOf(q.err(), entropy.ValidateID("assignment", string(u.AssignmentID))); err != nil {
		return err
	}
	body, err := s.upload(w, r, entropy.MaxLogPiece)
	if err != nil {
		return err
	}
	buf := new(bytes.Buffer) // not pooled: the service may keep the bytes
	if _, err := buf.ReadFrom(body); err != nil {
		return err
	}
	stored, err := s.conf.Worker.AppendLog(r.Context(), u, buf.Bytes())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.Stored{Size: stored})
}

func (s *Server) openBlob(w *response, r *http.Request) error {
	sum := r.PathValue("sha256")
	if err := firstOf(checkHash(sum), noQuery(r)); err != nil {
		return err
	}
	content, err := s.conf.Worker.OpenBlob(r.Context(), sum)
	if err != nil {
		return err
	}
	defer content.Close()
	w.rc.SetWriteDeadline(time.Now().Add(w.idle))
	return copyOut(r.Context(), w, content)
}
