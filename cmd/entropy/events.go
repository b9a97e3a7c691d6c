package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

type eventsFlags struct {
	follow              bool
	after, entity, kind string
	limit               int
}

const eventsLong = `Print what happened, oldest first: every transition of every job and worker, as
it stands in the journal. Each line begins with the event's position, EPOCH:SEQ,
from which --after continues. With --follow and no --after, only what happens
from now on; --after 0:0 is the beginning.`

func (a *app) eventsCommand() *cobra.Command {
	var f eventsFlags
	c := &cobra.Command{
		Use:   "events",
		Short: "Print what happened, or follow what happens",
		Long:  eventsLong,
		Example: `  entropy events --follow
  entropy events --entity job:nightly-42 -o jsonl`,
		Args: argument(0, 0, ""),
	}
	s := c.Flags()
	s.BoolVarP(&f.follow, "follow", "f", false, "go on as things happen")
	s.StringVar(&f.after, "after", "", "begin after this `EPOCH:SEQ`")
	s.StringVar(&f.entity, "entity", "", "only this `ENTITY`, as in job:ID or worker:NAME")
	s.StringVar(&f.kind, "type", "", "only this `TYPE`, as in job.lost, or a prefix that ends in a dot, as in job.")
	s.IntVar(&f.limit, "limit", 0, "stop after this many (default: none)")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.events(ctx, f) })
}

func (f eventsFlags) filter() (entropy.EventFilter, error) {
	filter := entropy.EventFilter{Entity: f.entity, Type: f.kind, Latest: f.follow && f.after == ""}
	if f.after != "" {
		p, err := entropy.ParsePosition(f.after)
		if err != nil {
			return filter, err
		}
		filter.After = p
	}
	if kind, id := entropy.SplitEntity(f.entity); f.entity != "" && (kind == "" || id == "") {
		return filter, usagef("--entity %q is not an entity", f.entity).WithHint("write KIND:ID, as in job:nightly-42")
	}
	if f.limit < 0 {
		return filter, usagef("--limit is %d", f.limit).WithHint("it is not negative; 0 means none")
	}
	if f.follow {
		filter.Wait = waitRound
	}
	return filter, nil
}

func (a *app) events(ctx context.Context, f eventsFlags) error {
	filter, err := f.filter()
	if err != nil {
		return err
	}
	if f.follow && a.global.output == outputJSON {
		return usagef("--follow has no end, a JSON array has one").WithHint("use -o jsonl")
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	sink := newEventSink(a)
	p := &patience{a: a, limit: sendPatience}
	for {
		if f.limit > 0 {
			filter.Limit = min(f.limit-sink.count, entropy.MaxBatch)
		}
		var page entropy.EventPage
		err := p.do(ctx, func() (err error) {
			page, err = service.Events(ctx, filter)
			return err
		})
		if err != nil {
			return err
		}
		p.limit = watchPatience
		if err := sink.write(page); err != nil {
			return err
		}
		advanced := page.Next != filter.After
		filter.After, filter.Latest = page.Next, false
		if f.limit > 0 && sink.count >= f.limit || !f.follow && len(page.Events) == 0 && !advanced {
			return sink.close()
		}
	}
}

// eventSink writes events in the chosen format as they come.
type eventSink struct {
	a     *app
	count int
}

func newEventSink(a *app) *eventSink { return &eventSink{a: a} }

func (s *eventSink) write(page entropy.EventPage) error {
	for i := range page.Events {
		if err := s.event(page.Next.Epoch, &page.Events[i]); err != nil {
			return err
		}
		s.count++
	}
	return nil
}

func (s *eventSink) event(epoch uint64, e *entropy.Event) error {
	switch s.a.global.output {
	case outputLines:
		return s.a.writeLine(e)
	case outputJSON:
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.a.stdout, "%s\n  %s", []string{"[", ","}[min(s.count, 1)], b)
		return err
	}
	at := entropy.Position{Epoch: epoch, Seq: e.Seq}
	_, err := fmt.Fprintf(s.a.stdout, "%-10s %s  %-20s %s%s\n", at, stamp(&e.TS), printable(e.Type), printable(e.EntityID), eventDetail(e))
	return err
}

// close ends a JSON array.
func (s *eventSink) close() error {
	if s.a.global.output != outputJSON {
		return nil
	}
	end := "\n]\n"
	if s.count == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(s.a.stdout, end)
	return err
}

// detailKeys are the attributes worth a place on an event's one line, in order.
var detailKeys = []string{"attempt", "worker_id", "cause", "reason", "counted", "exit_code", "signal", "answer", "retry_at", "slots", "mode", "message"}

// eventDetail writes an event's telling attributes as key=value.
func eventDetail(e *entropy.Event) string {
	var attrs map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(e.Attrs)))
	decoder.UseNumber()
	if len(e.Attrs) == 0 || decoder.Decode(&attrs) != nil {
		return ""
	}
	var b strings.Builder
	for _, k := range detailKeys {
		switch v := attrs[k].(type) {
		case map[string]any, []any, nil:
		default:
			fmt.Fprintf(&b, "  %s=%s", strings.TrimSuffix(k, "_id"), shorten(printable(fmt.Sprint(v)), 80))
		}
	}
	return b.String()
}
