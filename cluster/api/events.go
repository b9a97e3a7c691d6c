package api

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

const (
	maxEvents    = 10_000 // of one page
	streamEvents = 500    // of one piece of a stream: what a slow reader costs
)

// events answers with a page of journaled events, or as a stream of server-sent
// events when that is what the client accepts.
func (s *Server) events(w *response, r *http.Request) error {
	f, err := eventFilter(r)
	if err != nil {
		return err
	}
	if acceptsStream(r) {
		return s.streamEvents(w, r, f, nil)
	}
	page, err := s.conf.Service.Events(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

func acceptsStream(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if media, _, err := mime.ParseMediaType(part); err == nil && media == "text/event-stream" {
			return true
		}
	}
	return false
}

func eventFilter(r *http.Request) (entropy.EventFilter, error) {
	q := newQuery(r)
	f := entropy.EventFilter{Latest: q.flag("latest"), Entity: q.text("entity"), Type: q.text("type"),
		Limit: int(q.number("limit", 0, maxEvents)), Wait: q.wait("wait")}
	after := q.text("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" && acceptsStream(r) {
		after, f.Latest = last, false // a stream that goes on, whatever it was first asked
	}
	if after != "" && f.Latest {
		q.bad("after and latest exclude each other")
	}
	if err := q.err(); err != nil {
		return f, err
	}
	if after == "" {
		return f, nil
	}
	pos, err := entropy.ParsePosition(after)
	f.After = pos
	return f, err
}

// streamEvents sends events until the client goes. Each carries its position as
// id, from which the client resumes with Last-Event-ID. The next piece is read
// when the last was taken, so a slow client costs one piece; one that takes
// nothing for the idle timeout is cut. The stream ends after an event of a type that
// is the last; nil means that none is.
func (s *Server) streamEvents(w *response, r *http.Request, f entropy.EventFilter, last func(typ string) bool) error {
	f.Limit, f.Wait = streamEvents, 0
	page, err := s.conf.Service.Events(r.Context(), f) // before the header, so that an error has its status
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = []string{"text/event-stream"}
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	f.Wait = s.conf.KeepAlive
	for {
		if err := s.sendEvents(w, page); err != nil {
			return nil // the client is gone
		}
		if last != nil && slices.ContainsFunc(page.Events, func(e entropy.Event) bool { return last(e.Type) }) {
			return nil
		}
		f.After, f.Latest = page.Next, false
		page, err = s.conf.Service.Events(r.Context(), f)
		if cause := context.Cause(r.Context()); cause != nil {
			err = cause
		}
		if err != nil {
			s.endStream(w, r, err)
			return nil
		}
	}
}

// sendEvents sends one piece of a stream. One without events still tells the
// client how far it has come, and that the stream lives.
func (s *Server) sendEvents(w *response, page entropy.EventPage) error {
	buf := getBuffer()
	defer putBuffer(buf)
	for _, e := range page.Events {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		pos := entropy.Position{Epoch: page.Next.Epoch, Seq: e.Seq}
		fmt.Fprintf(buf, "id: %s\nevent: %s\ndata: %s\n\n", pos, oneLine(e.Type), data)
	}
	if n := len(page.Events); n == 0 || page.Events[n-1].Seq != page.Next.Seq {
		fmt.Fprintf(buf, ": keep-alive\nid: %s\n\n", page.Next) // an id alone moves the client's position and fires nothing
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return err
	}
	return w.flush()
}

// oneLine keeps an event type from ending its line; ours never do.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\r' {
			return -1
		}
		return c
	}, s)
}

// endStream tells the client why the stream ends, if it is still there.
func (s *Server) endStream(w *response, r *http.Request, err error) {
	data, merr := json.Marshal(s.public(r, err).Problem())
	if merr != nil {
		return
	}
	if _, err := fmt.Fprintf(w, "event: error\ndata: %s\n\n", data); err == nil {
		w.flush()
	}
}
