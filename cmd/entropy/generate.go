package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
	"github.com/entropy-fabric/entropy/actors/analyzer/trial"
)

const generateLong = `Make a stream of events with known faults, as JSON lines in the envelope: entities
of one kind run cases of four steps (receive, check, process, deliver), slower at night
and rarer on weekends. The same flags give the same bytes.

An overlay bends the stream for a while: KIND with any of entity=N, step=NAME,
from=DURATION, for=DURATION, factor=X, share=X after commas. Durations are Go's, and
days as in 3d. Kinds: drift (× factor), chaos and stuck (more and less scatter), tail and
late (a share × factor), missing (a share is cut off), skip (the step is left out),
incident (everything slower, some cut off).

Every event that an overlay touched has the tag "label"; those it took away are in
--labels only.

  entropy generate --days 14 --overlay drift,entity=3,step=process,from=10d,for=1d`

func (a *app) generateCommand() *cobra.Command {
	var cfg generate.Config
	var overlays []string
	var start, labels string
	c := &cobra.Command{Use: "generate", Short: "Make a stream of events with known faults", Long: generateLong, Args: argument(0, 0, "")}
	f := c.Flags()
	f.Uint64Var(&cfg.Seed, "seed", 1, "`SEED` of everything that is drawn")
	f.IntVar(&cfg.Days, "days", 30, "`DAYS` of the stream")
	f.IntVar(&cfg.Entities, "entities", 50, "`NUMBER` of entities")
	f.DurationVar(&cfg.Every, "every", 20*time.Minute, "mean `DURATION` between two cases of an entity")
	f.Float64Var(&cfg.Sigma, "sigma", 0.5, "scatter of the logarithm of a step's time")
	f.BoolVar(&cfg.Flat, "flat", false, "no rhythm of day and week")
	f.StringVar(&start, "start", "2026-01-05", "first `DAY`, UTC")
	f.StringArrayVar(&overlays, "overlay", nil, "`KIND,key=value,…`, repeatable")
	f.StringVar(&labels, "labels", "", "write every labeled event, also those taken away, to `FILE`")
	return a.command(c, func(ctx context.Context, _ []string) error {
		var err error
		if cfg.Start, err = time.Parse(time.DateOnly, start); err != nil {
			return usagef("--start is %q", start).WithHint("write a day, as in 2026-01-05")
		}
		if cfg.Days < 1 || cfg.Days > 3660 || cfg.Entities < 1 || cfg.Entities > 100_000 || cfg.Every < time.Second || cfg.Sigma <= 0 {
			return usagef("--days is from 1 to 3,660, --entities from 1 to 100,000, --every is a second or more, --sigma positive")
		}
		for _, s := range overlays {
			o, err := overlay(s)
			if err != nil {
				return err
			}
			cfg.Overlays = append(cfg.Overlays, o)
		}
		return a.generate(ctx, cfg, labels)
	})
}

// generate writes the stream to stdout and the labels to a file.
func (a *app) generate(ctx context.Context, cfg generate.Config, labels string) error {
	out := bufio.NewWriter(a.stdout)
	events := json.NewEncoder(out)
	var truth *json.Encoder
	if labels != "" {
		file, err := os.Create(labels)
		if err != nil {
			return err
		}
		defer file.Close()
		truth = json.NewEncoder(file)
	}
	for e := range cfg.Events() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if truth != nil && e.Label != "" {
			if err := truth.Encode(e); err != nil {
				return err
			}
		}
		if e.Absent {
			continue
		}
		if err := events.Encode(envelope(e)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// envelope returns a generated event as the fabric writes events.
func envelope(e generate.Event) entropy.Event {
	tags := map[string]string{"step": e.Step}
	if e.Label != "" {
		tags["label"] = e.Label
	}
	return entropy.Event{
		TS: e.At, Type: "step.completed", EntityID: e.Entity, CorrelationID: e.Case,
		IdempotencyKey: fmt.Sprintf("%s:%s:%d", e.Case, e.Step, e.At.UnixNano()),
		Source:         entropy.Source{System: "generate"}, Tags: tags,
		Attrs: json.RawMessage(fmt.Sprintf(`{"latency_ms":%.3f}`, float64(e.Took)/float64(time.Millisecond))), Schema: 1,
	}
}

// overlay reads KIND,key=value,….
func overlay(s string) (generate.Overlay, error) {
	kind, rest, _ := strings.Cut(s, ",")
	o := generate.Overlay{Kind: kind, Entity: -1, For: 24 * time.Hour}
	var pairs []string
	if rest != "" {
		pairs = strings.Split(rest, ",")
	}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		var err error
		switch k {
		case "entity":
			o.Entity, err = strconv.Atoi(v)
		case "step":
			o.Step = v
		case "from":
			o.From, err = daysOr(v)
		case "for":
			o.For, err = daysOr(v)
		case "factor":
			o.Factor, err = strconv.ParseFloat(v, 64)
		case "share":
			o.Share, err = strconv.ParseFloat(v, 64)
		default:
			err = fmt.Errorf("%q is not a key", k)
		}
		if err != nil {
			return o, usagef("--overlay %q: %v", s, err).WithHint("keys are entity, step, from, for, factor and share")
		}
	}
	if err := o.Validate(); err != nil {
		return o, usagef("--overlay %q: %v", s, err)
	}
	return o, nil
}

// daysOr reads a duration, also in days.
func daysOr(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseFloat(n, 64)
		return time.Duration(days * 24 * float64(time.Hour)), err
	}
	return time.ParseDuration(s)
}

const scoreGeneratedLong = `Run the analyzer over generated streams of a month with known faults: two weeks to
learn, two quiet weeks in which every alarm is false, then ten series whose median is
doubled, a fifth of ten entities' deliveries late, a twentieth of ten others' missing.`

func (a *app) scoreGeneratedCommand() *cobra.Command {
	var seeds []int
	var sigma float64
	c := &cobra.Command{Use: "generated", Short: "Score the analyzer on streams with known faults", Long: scoreGeneratedLong, Args: argument(0, 0, "")}
	c.Flags().IntSliceVar(&seeds, "seed", []int{1}, "`SEEDS` of the streams")
	c.Flags().Float64Var(&sigma, "sigma", 0.5, "scatter of the logarithm of a step's time")
	return a.command(c, func(context.Context, []string) error {
		if sigma <= 0 || sigma > 3 {
			return usagef("--sigma is %v", sigma).WithHint("it is more than 0 and at most 3")
		}
		var results []trial.Result
		for _, s := range seeds {
			results = append(results, trial.Run(uint64(s), sigma))
		}
		return list(a, results, trialTable)
	})
}

func trialTable(results []trial.Result) *table {
	t := new(table)
	t.row("SEED", "EVENTS", "FALSE ALARMS", "PER 1,000 KEY-DAYS", "DOUBLED, FOUND IN TIME", "LATE PRECISION", "LATE RECALL", "MISSING RECALL", "WITHIN × P99", "WRONGLY MISSING PER 1,000")
	row := func(name string, r trial.Result) {
		t.row(name, itoa(r.Events), itoa(r.FalseAlarms), decimal(r.PerThousand, 2), itoa(r.InTime)+" of "+itoa(r.Doubled),
			decimal(r.LatePrecision, 3), decimal(r.LateRecall, 3), decimal(r.MissingRecall, 3), decimal(r.MissingMost, 2), decimal(r.FalselyMissing, 2))
	}
	for _, r := range results {
		row(strconv.FormatUint(r.Seed, 10), r)
	}
	if len(results) > 1 {
		row("all", trial.Together(results))
	}
	return t
}
