package api

import (
	"math"
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// maxLogRead bounds one piece of output, in bytes.
const maxLogRead = 4 << 20

// jobLogs answers with a piece of a job's output as JSON, or with follow=1
// streams it as text until the attempt has ended.
func (s *Server) jobLogs(w *response, r *http.Request) error {
	id, err := jobID(r)
	q := newQuery(r)
	l := entropy.LogQuery{JobID: id, Stream: q.text("stream"), Attempt: int(q.number("attempt", 0, math.MaxInt32)),
		Offset: q.number("offset", math.MinInt64, math.MaxInt64), Limit: int(q.number("limit", 0, maxLogRead)), Wait: q.wait("wait")}
	follow := q.flag("follow")
	setDefault(&l.Stream, "stdout")
	if l.Stream != "stdout" && l.Stream != "stderr" {
		q.bad("stream is %.40q and not stdout or stderr", l.Stream)
	}
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	if follow {
		l.Wait = s.conf.KeepAlive
	}
	chunk, err := s.conf.Service.Log(r.Context(), l)
	if err != nil {
		return err
	}
	if !follow {
		if chunk.Data == nil {
			chunk.Data = []byte{}
		}
		return answer(w, http.StatusOK, chunk)
	}
	return s.followLog(w, r, l, chunk)
}

// followLog streams output from its first piece on. Only what a slow reader has
// not yet taken is in memory: the next piece is read when the last was sent.
func (s *Server) followLog(w *response, r *http.Request, l entropy.LogQuery, chunk entropy.LogChunk) error {
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	w.WriteHeader(http.StatusOK)
	for {
		if len(chunk.Data) > 0 {
			if _, err := w.Write(chunk.Data); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil || chunk.EOF {
			return err
		}
		l.Offset = chunk.Next
		if chunk.Attempt > 0 {
			l.Attempt = chunk.Attempt
		}
		var err error
		if chunk, err = s.conf.Service.Log(r.Context(), l); err != nil {
			return err
		}
		if err := r.Context().Err(); err != nil {
			return err
		}
	}
}

// flush sends what was written.
func (w *response) flush() error {
	w.extend()
	return w.rc.Flush()
}
