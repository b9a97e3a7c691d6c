package actors_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the scripts in testdata/scenarios with what came of them")

// script drives a control plane, its workers and its disk by the lines of a file.
// A command stands at the margin; what is recorded because of it, and what whoever
// asked is told, follows, indented, and is rewritten with -rewrite.
//
//	submit ID [stop] [key=K] [after=ID] [not-before=D] [not-after=D] [checkpoint]
//	hold ID OPERATION · release ID OPERATION · jobs
//	worker W · claim W · run W (claim one and ACK it) · beat W · live W D · end W ID [failed]
//	save W ID SEQ · register W [boot=B] [spool=S] [empty] · gossip W dead|alive
//	crash (of the control plane, which starts again) · full on|off · pass D · step D
//	schedule NAME catch-up=C FIELDS…
type script struct {
	l     *lab
	step  func(time.Duration)
	nodes map[string]*node
	runs  map[string]entropy.Held // by worker and job
	names map[entropy.AssignmentID]string
	seen  int
	full  bool
	out   strings.Builder
}

// proves H-1, H-3, H-9, H-10, H-11, H-12, H-13, L-3, L-4 and J-5, one script each
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	for _, p := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			inSteppedLab(t, func(l *lab, step func(time.Duration)) {
				l.parts = newParts()
				l.crash() // with a store for checkpoints
				got = (&script{l: l, step: step, nodes: map[string]*node{}, runs: map[string]entropy.Held{}, names: map[entropy.AssignmentID]string{}}).run(string(text))
			})
			if *rewrite {
				if err := os.WriteFile(p, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s: if the change is meant: go test -run '^TestScripts$' -rewrite ./actors\n%s", p, got)
			}
		})
	}
}

func (s *script) run(text string) string {
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		s.out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if err := s.command(f[0], f[1:]); err != nil {
			e := entropy.AsError(err)
			s.say("%s: %s", e.Code, s.named(e.Message))
			if e.Code == entropy.CodeInternal {
				s.l.t.Errorf("line %d: %q: %v", n+1, line, err)
			}
		}
		synctest.Wait()
		s.recorded()
	}
	return s.out.String()
}

// named writes a message with the assignments' names.
func (s *script) named(message string) string {
	for id, name := range s.names { // each occurs in no other
		message = strings.ReplaceAll(message, string(id), name)
	}
	return strings.Split(message, "\n")[0]
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(&s.out, "    "+format+"\n", args...) }

func (s *script) command(verb string, args []string) error {
	ctx := context.Background()
	switch verb {
	case "submit":
		return s.submit(args[0], args[1:])
	case "hold":
		_, err := s.l.sys.Hold(ctx, entropy.JobID(args[0]), entropy.Operation{ID: args[1]})
		return err
	case "release":
		_, err := s.l.sys.Release(ctx, entropy.JobID(args[0]), entropy.Operation{ID: args[1]})
		return err
	case "jobs":
		return s.jobs()
	case "crash":
		s.l.crash()
		s.fill()
	case "full":
		s.full = args[0] == "on"
		s.fill()
	case "pass":
		s.l.pass(duration(args[0]))
	case "step":
		s.step(duration(args[0]))
	case "schedule":
		spec := nightly(args[0], strings.Join(args[2:], " "))
		spec.CatchUp = entropy.CatchUp(word(args, "catch-up"))
		_, err := s.l.sys.CreateSchedule(ctx, spec, entropy.Operation{})
		return err
	default:
		return s.byWorker(verb, args)
	}
	return nil
}

func (s *script) byWorker(verb string, args []string) error {
	w := args[0]
	n := s.nodes[w]
	switch {
	case verb == "worker":
		s.nodes[w] = s.l.worker(w)
		return nil
	case n == nil:
		return errors.New("there is no such command or worker")
	}
	switch verb {
	case "claim":
		for _, a := range n.claim(1) {
			s.say("%s is given %s", w, s.name(a.AssignmentID, a.JobID))
		}
	case "run":
		h := n.run()
		s.runs[w+" "+string(h.JobID)] = h
		s.say("%s runs %s%s", w, s.name(h.AssignmentID, h.JobID), s.resumes(h))
	case "beat":
		return s.beat(n)
	case "live":
		n.live(duration(args[1]))
	case "end":
		return s.end(n, w, args[1], slices.Contains(args, "failed"))
	case "save":
		seq, err := strconv.ParseUint(args[2], 10, 64)
		h := s.runs[w+" "+args[1]]
		if err = errors.Join(err, n.upload(h, args[2])); err == nil {
			_, err = n.commit(h, seq, args[2])
		}
		return err
	case "register":
		n.reg.BootID, n.reg.SpoolID = cmp.Or(word(args, "boot"), n.reg.BootID), cmp.Or(word(args, "spool"), n.reg.SpoolID)
		if slices.Contains(args, "empty") {
			n.held = nil
		}
		for _, v := range n.register().Held {
			s.say("%s: %s %s", w, s.names[v.AssignmentID], v.Verdict)
		}
	case "gossip":
		s.l.sys.Witness(entropy.WorkerID(w), args[1] == "dead")
	default:
		return errors.New("there is no such command")
	}
	return nil
}

func (s *script) submit(id string, args []string) error {
	spec := entropy.JobSpec{Command: []string{"work"}, ConcurrencyKey: word(args, "key")}
	if slices.Contains(args, "stop") {
		spec.Disconnect.Worker, spec.Grace = entropy.DisconnectStop, entropy.Duration(time.Second)
	}
	if slices.Contains(args, "checkpoint") {
		spec.Checkpoint = new(entropy.CheckpointPolicy)
	}
	if up := word(args, "after"); up != "" {
		spec.After = []entropy.Dependency{{Job: entropy.JobID(up)}}
	}
	for _, x := range []struct {
		key string
		at  **time.Time
	}{{"not-before", &spec.NotBefore}, {"not-after", &spec.NotAfter}} {
		if d := word(args, x.key); d != "" {
			t := s.l.now().Add(duration(d))
			*x.at = &t
		}
	}
	r, err := s.l.sys.Submit(context.Background(), []entropy.Submission{{ID: entropy.JobID(id), Spec: spec}})
	if err == nil && r[0].Error != nil {
		err = r[0].Error
	}
	return err
}

func (s *script) beat(n *node) error {
	n.beats++
	r, err := s.l.sys.Heartbeat(n.ctx, entropy.Heartbeat{Incarnation: n.incarnation, Seq: n.beats, Held: n.held})
	if err != nil {
		return err
	}
	for _, d := range r.Directives.Stop {
		s.say("stop %s: %s", s.names[d.AssignmentID], d.Reason)
	}
	if d := r.Deduct.D(); d > 0 {
		s.say("trust it for %s less", d.Round(time.Second))
	}
	return nil
}

func (s *script) end(n *node, w, id string, failed bool) error {
	h, ok := s.runs[w+" "+id]
	if !ok {
		return errors.New("it does not run there")
	}
	outcome, exit := entropy.OutcomeSucceeded, 0
	if failed {
		outcome, exit = entropy.OutcomeFailed, 1
	}
	r, err := s.l.sys.Complete(n.ctx, entropy.CompleteRequest{Incarnation: n.incarnation, Items: []entropy.Completion{{JobID: h.JobID, AssignmentID: h.AssignmentID,
		SpoolID: n.reg.SpoolID, CompletionSeq: 1, Outcome: outcome, Reason: entropy.ReasonExit, ExitCode: &exit}}})
	if err != nil {
		return err
	}
	repeat := ""
	if r[0].Repeat {
		repeat = ", as before"
	}
	s.say("%s%s", r[0].Verdict, repeat)
	if r[0].Verdict != entropy.VerdictRetry {
		n.held = slices.DeleteFunc(n.held, func(x entropy.Held) bool { return x.AssignmentID == h.AssignmentID })
	}
	return nil
}

// resumes says from which checkpoint a run begins.
func (s *script) resumes(h entropy.Held) string {
	if from := s.l.job(h.JobID).ResumeFrom(); len(from) > 0 {
		return fmt.Sprintf(", from checkpoint %d of attempt %d", from[0].Seq, from[0].Attempt)
	}
	return ""
}

// fill fills the disk, or makes room.
func (s *script) fill() {
	s.l.full(s.full)
	s.l.journal.set(func(entropy.Change) error {
		if s.full {
			return entropy.Errorf(entropy.CodeDiskFull, "the disk is full")
		}
		return nil
	})
}

func (s *script) jobs() error {
	s.l.journal.mu.Lock()
	defer s.l.journal.mu.Unlock()
	var lines []string
	for _, j := range s.l.journal.jobs {
		text := fmt.Sprintf("%s %s, attempt %d", s.job(j.ID), j.State, j.Attempt)
		if j.Failures+j.Losses > 0 {
			text += fmt.Sprintf(", failures %d, losses %d", j.Failures, j.Losses)
		}
		lines = append(lines, text)
	}
	slices.Sort(lines)
	for _, line := range lines {
		s.say("%s", line)
	}
	return nil
}

// name names an assignment by the order in which they were made.
func (s *script) name(a entropy.AssignmentID, id entropy.JobID) string {
	if s.names[a] == "" {
		s.names[a] = fmt.Sprintf("a%d", len(s.names)+1)
	}
	return s.job(id) + " as " + s.names[a]
}

// job names a job: one of a schedule by its nominal time. The caller holds the
// journal's lock, or nothing changes it.
func (s *script) job(id entropy.JobID) string {
	if j := s.l.journal.jobs[id]; j != nil && j.Spec.Labels[entropy.LabelSchedule] != "" {
		at, _ := time.Parse(time.RFC3339, j.Spec.Env[entropy.EnvScheduledAt])
		return j.Spec.Labels[entropy.LabelSchedule] + at.Format("@15:04")
	}
	return string(id)
}

// entity names what an event is about.
func (s *script) entity(name string) string {
	kind, id := entropy.SplitEntity(name)
	if kind == entropy.KindJob {
		return s.job(entropy.JobID(id))
	}
	return id
}

// recorded writes what was recorded since the last command.
func (s *script) recorded() {
	s.l.journal.mu.Lock()
	defer s.l.journal.mu.Unlock()
	events := slices.Clone(s.l.journal.events[s.seen:])
	s.seen = len(s.l.journal.events)
	slices.SortStableFunc(events, func(a, b entropy.Event) int { // those of one moment come in any order
		return cmp.Or(a.TS.Compare(b.TS), strings.Compare(s.entity(a.EntityID), s.entity(b.EntityID)), cmp.Compare(a.Version, b.Version))
	})
	for _, e := range events {
		kind, id := entropy.SplitEntity(e.EntityID)
		if kind != entropy.KindJob {
			s.say("%s %s", id, e.Type)
			continue
		}
		d, err := entropy.DecodeJobEvent(e)
		if err != nil {
			s.l.t.Error(err)
		}
		text := s.job(entropy.JobID(id)) + " " + e.Type
		if d.Attrs.AssignmentID != "" {
			s.name(d.Attrs.AssignmentID, entropy.JobID(id))
			text += " " + s.names[d.Attrs.AssignmentID]
		}
		for _, x := range []string{string(d.Attrs.Reason), string(d.Attrs.Cause), d.Attrs.Counted} {
			if x != "" {
				text += " " + x
			}
		}
		s.say("%s", text)
	}
}

func word(args []string, key string) string {
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok && k == key {
			return v
		}
	}
	return ""
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
