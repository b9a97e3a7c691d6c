package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// story is what is played, and what was seen on the way.
type story struct {
	config config
	dir    string
	lab    lab
	feed   feed

	from      string
	slowFrom  time.Time // by the time of the story
	cured     time.Time
	normal    time.Time // when what is learned had begun to be compared
	deviation entropy.Deviation
	wish      entropy.Suggestion
	action    entropy.ActionInfo
	windows   int // that were slow before it was noticed
	healing   int // that were as before until it had recovered
	result    string
	story     []string
}

// The service is a job. It is slow while a file says so, which a new start removes:
// as a process that leaks, and is cured by a restart.
const (
	serviceJob  = "edge-1"
	serviceName = "service:edge"
	step        = "request"
	service     = `rm -f "$0/slow"; echo begun >> "$0/starts"; exec sleep 3600`
	window      = 50 // measurations of one of the analyzer's
)

const rules = `max_age: 0s          # the time of the story is behind the clock's
judge: 1m
rules:
  - name: restart-what-is-slow
    when: entity == "service:edge" && channel == "location" && direction == "slower" && bits > 20
    mode: act
    reversible: true
    do:
      command: restart_job
      entity: "job:edge-1"
      args: {job_id: edge-1, force: true}
      priority: high
      reason: "{why}"
      benefit: "a fresh process answers as fast as it used to"
`

// play plays the story from its beginning to the check.
func (s *story) play(ctx context.Context) error {
	values, from, err := latencies(s.config.data)
	if err != nil {
		return err
	}
	s.from = from
	file := filepath.Join(s.dir, "rules.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		return err
	}
	if err := s.lab.start(ctx, s.config.entropy, s.dir, file); err != nil {
		return err
	}
	s.feed = feed{client: s.lab.client, values: values, begin: time.Now().Add(-needed * every)}
	for _, act := range []func(context.Context) error{s.serve, s.learn, s.slowDown, s.react, s.heal, s.judged, s.tell} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return s.check(ctx)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// serve starts the service.
func (s *story) serve(ctx context.Context) error {
	say("1. A service runs as a job of the fabric.")
	r, err := s.lab.client.Submit(ctx, []entropy.Submission{{ID: serviceJob, Spec: entropy.JobSpec{Name: "edge", Command: []string{"sh", "-c", service, s.dir}}}})
	if err == nil && r[0].Error != nil {
		err = r[0].Error
	}
	if err != nil {
		return err
	}
	return until(ctx, 30*time.Second, "the service runs", func() (bool, error) { return s.starts() == 1, nil })
}

// starts returns how often the service has begun.
func (s *story) starts() int {
	b, _ := os.ReadFile(filepath.Join(s.dir, "starts")) // not yet there: never
	return strings.Count(string(b), "\n")
}

func (s *story) isSlow() bool {
	_, err := os.Stat(filepath.Join(s.dir, "slow"))
	return err == nil
}

// caughtUp waits until the analyzer has seen everything.
func (s *story) caughtUp(ctx context.Context) (st entropy.EntropyStatus, err error) {
	err = until(ctx, time.Minute, "the analyzer has seen everything", func() (bool, error) {
		st, err = s.lab.client.Entropy(ctx, false)
		return st.State == entropy.EntropyLive && st.Row >= st.LastRow, err
	})
	return st, err
}

// report has the agent measure one window, as slow as the service is.
func (s *story) report(ctx context.Context) error {
	factor := 1.0
	if s.isSlow() {
		factor = s.config.slower
	}
	if err := s.feed.report(ctx, window, factor); err != nil {
		return err
	}
	_, err := s.caughtUp(ctx)
	return err
}

// learn imports what was measured so far, and shows that what follows is normal.
func (s *story) learn(ctx context.Context) error {
	began := time.Now()
	if err := s.feed.report(ctx, learnt, 1); err != nil {
		return err
	}
	if _, err := s.caughtUp(ctx); err != nil {
		return err
	}
	x, err := s.lab.client.EntropySeries(ctx, serviceName, step)
	if err != nil {
		return err
	}
	say("2. %d %s: imported and learned in %.1f s.\n   Half take up to %d ms, 95 %% up to %d ms; entropy %.2f bits.", learnt, s.from, time.Since(began).Seconds(), x.NormalP50, x.NormalP95, x.Normal)
	s.normal = s.feed.at()
	for range 4 {
		if err := s.report(ctx); err != nil {
			return err
		}
	}
	if all, err := s.lab.client.Suggestions(ctx, entropy.SuggestionFilter{}); err != nil || len(all) > 0 {
		return errors.Join(fmt.Errorf("nothing is wrong, and there are %d suggestions", len(all)), err)
	}
	say("   Four more windows of %d: nothing is done.", window)
	return nil
}

// slowDown makes the service slow, and waits until the rule has fired.
func (s *story) slowDown(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(s.dir, "slow"), nil, 0o600); err != nil {
		return err
	}
	s.slowFrom = s.feed.at()
	say("3. The service becomes slow: everything takes %g times as long.", s.config.slower)
	for s.windows = 1; s.windows <= 4; s.windows++ {
		if err := s.report(ctx); err != nil {
			return err
		}
		all, err := s.lab.client.Deviations(ctx, entropy.DeviationFilter{Entity: serviceName, Step: step, Open: true, Recent: true})
		if err != nil {
			return err
		}
		if len(all) > 0 && !all[0].Window.To.Before(s.slowFrom) {
			s.deviation = all[0]
			say("   After %d window(s), entropy.deviation: %s %s, %s %s, %.0f bits.\n   Why: %s", s.windows, all[0].EntityID, all[0].Step, all[0].Channel, all[0].Direction, all[0].Bits, strings.Join(all[0].Why, "\n        "))
			return nil
		}
	}
	return fmt.Errorf("nothing was noticed in %d windows", s.windows-1)
}

// react waits for the action that the rule asks for, and for its end.
func (s *story) react(ctx context.Context) error {
	err := until(ctx, 30*time.Second, "the rule has fired", func() (bool, error) {
		all, err := s.lab.client.Suggestions(ctx, entropy.SuggestionFilter{Entity: serviceName})
		if len(all) > 0 {
			s.wish = all[0]
		}
		return len(all) > 0, err
	})
	if err != nil {
		return err
	}
	say("4. entropy.suggested: rule %s, mode %s, wants %s for %s.\n   Expected of it: %s.", s.wish.Rule, s.wish.Mode, s.wish.Command, s.wish.Target, s.wish.Benefit)
	err = until(ctx, time.Minute, "the action has ended", func() (bool, error) {
		a, err := s.lab.client.Action(ctx, s.wish.ActionID)
		s.action = a
		if entropy.ErrorCode(err) == entropy.CodeNotFound {
			return false, nil // the wish is on record, the request is about to be
		}
		return a.State.Terminal(), err
	})
	if err != nil {
		return err
	}
	if s.action.State != entropy.ActionSucceeded {
		return fmt.Errorf("the action is %s: %s %s", s.action.State, s.action.Reason, s.action.Message)
	}
	var result struct {
		JobID entropy.JobID `json:"new_job_id"`
	}
	if err := json.Unmarshal(s.action.Result, &result); err != nil {
		return err
	}
	s.result = string(result.JobID)
	if err := until(ctx, 30*time.Second, "the service is back", func() (bool, error) { return s.starts() == 2 && !s.isSlow(), nil }); err != nil {
		return err
	}
	s.cured = s.feed.at()
	say("   Executor %s has it done in %s: the job is %s now.", s.action.Attempts[0].Executor, s.action.FinishedAt.Sub(s.action.CreatedAt).Round(time.Millisecond), s.result)
	return nil
}

// heal goes on measuring until the deviation has ended.
func (s *story) heal(ctx context.Context) error {
	for s.healing = 1; s.healing <= 8; s.healing++ {
		if err := s.report(ctx); err != nil {
			return err
		}
		all, err := s.lab.client.Deviations(ctx, entropy.DeviationFilter{Entity: serviceName, Step: step, Open: true})
		if err != nil {
			return err
		}
		if len(all) == 0 {
			say("5. The service is measured again: entropy.recovered after %d windows.", s.healing)
			return nil
		}
	}
	return fmt.Errorf("it has not recovered within %d windows", s.healing-1)
}

// judged waits for the verdict on the action.
func (s *story) judged(ctx context.Context) error {
	if !s.config.verdict {
		return nil
	}
	say("   Waiting a minute for the verdict on the action …")
	return until(ctx, 90*time.Second, "the action was judged", func() (bool, error) {
		all, err := s.lab.client.Suggestions(ctx, entropy.SuggestionFilter{Entity: serviceName})
		if len(all) > 0 {
			s.wish.Verdict = all[0].Verdict
		}
		return s.wish.Verdict != "", err
	})
}

// tell reads from the ledger what belongs to the deviation.
func (s *story) tell(ctx context.Context) error {
	for f := (entropy.LedgerFilter{Types: []string{"entropy.", "action."}, Limit: entropy.MaxIngest}); ; {
		page, err := s.lab.client.Ledger(ctx, f)
		if err != nil {
			return err
		}
		for _, entry := range page.Entries {
			var e entropy.Event
			if err := json.Unmarshal(entry.Event, &e); err != nil {
				return err
			}
			if e.CorrelationID == s.deviation.CorrelationID {
				s.story = append(s.story, e.Type)
			}
		}
		if len(page.Entries) < f.Limit {
			break
		}
		f.After = page.Next
	}
	say("   The ledger, under one correlation_id: %s.", strings.Join(s.story, " → "))
	return nil
}
