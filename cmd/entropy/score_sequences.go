package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy/actors/analyzer/score"
	"github.com/entropy-fabric/entropy/actors/analyzer/trial"
)

// sequenceScore is the answer of score sequences.
type sequenceScore struct {
	score.SequenceResult
	Train      int                 `json:"train"`
	Estimate   bool                `json:"estimate"` // the normal cases are held-out training cases
	Detections []sequenceDetection `json:"detections"`
}

// sequenceDetection is a case that was called abnormal.
type sequenceDetection struct {
	Case     string  `json:"case"`
	Abnormal bool    `json:"abnormal"` // and is
	Excess   float64 `json:"excess"`   // bits beyond the limit
	Why      string  `json:"why"`
}

const scoreSequencesLong = `Learn from normal cases, judge others, and score the verdicts by precision, recall
and F1. A file has one case a line: its steps, separated by spaces, after an optional
id and a comma.

The limits are learned from the training alone, for one false alarm in a thousand
normal cases. Beside that score stands the one at the limit that is best on the cases
judged, as several published scores are taken.

Without --normal the false alarms are estimated: training cases are judged by models
that did not see them, and weigh together as much as --normals says.`

func (a *app) scoreSequencesCommand() *cobra.Command {
	var train, normal, abnormal string
	var normals int
	c := &cobra.Command{Use: "sequences --train F [--normal F] --abnormal F", Short: "Score the surprise of whole cases", Long: scoreSequencesLong, Args: argument(0, 0, "")}
	c.Flags().StringVar(&train, "train", "", "`FILE` of normal cases to learn from")
	c.Flags().StringVar(&normal, "normal", "", "`FILE` of normal cases to judge (default: an estimate)")
	c.Flags().StringVar(&abnormal, "abnormal", "", "`FILE` of abnormal cases to judge")
	c.Flags().IntVar(&normals, "normals", 0, "of an estimate: how many normal cases there would be (default: as many as were learned)")
	hideDefault(c.Flags(), "normals")
	return a.command(c, func(context.Context, []string) error {
		if train == "" || abnormal == "" || normals < 0 {
			return usagef("--train and --abnormal name files, --normals is a count").WithHint("entropy score sequences --train F --normal F --abnormal F")
		}
		s, err := scoreSequences(train, normal, abnormal, normals)
		if err != nil {
			return err
		}
		return a.one(s, func() error { return a.drawSequences(s) })
	})
}

func scoreSequences(train, normal, abnormal string, normals int) (*sequenceScore, error) {
	var sets [3][]score.Case
	for i, file := range []string{train, normal, abnormal} {
		if file == "" {
			continue
		}
		err := reading(file, func(r io.Reader) (err error) {
			sets[i], err = score.ReadSequences(r)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(sets[i]) == 0 {
			return nil, usagef("%s holds no case", file)
		}
	}
	if normals == 0 {
		normals = len(sets[0])
	}
	verdicts := trial.Sequences(sets[0], sets[1], sets[2], normals)
	s := &sequenceScore{Train: len(sets[0]), Estimate: normal == "", Detections: []sequenceDetection{}}
	plain := make([]score.Verdict, len(verdicts))
	for i, v := range verdicts {
		plain[i] = v.Verdict
		if v.Excess > 0 {
			s.Detections = append(s.Detections, sequenceDetection{v.Case.ID, v.Abnormal, v.Excess, caseWords(&v)})
		}
	}
	slices.SortStableFunc(s.Detections, func(x, y sequenceDetection) int {
		switch {
		case x.Excess > y.Excess:
			return -1
		case x.Excess < y.Excess:
			return 1
		}
		return 0
	})
	s.SequenceResult = score.Sequences(plain)
	return s, nil
}

func caseWords(v *trial.Verdict) string {
	w := v.Why
	return fmt.Sprintf("%s → %s (%.1f bits), %s %d times (%.1f bits), %.2f bits a step", w.From, w.To, w.Order, w.Step, w.Times, w.Count, w.Mean)
}

// shownCases bounds how many of the cases called abnormal a person is shown.
const shownCases = 20

func (a *app) drawSequences(s *sequenceScore) error {
	t := new(table)
	t.row("CASE", "IS", "BITS BEYOND", "WHY")
	for _, d := range s.Detections[:min(shownCases, len(s.Detections))] {
		is := "normal"
		if d.Abnormal {
			is = "abnormal"
		}
		t.row(shorten(printable(d.Case), 40), is, decimal(d.Excess, 1), d.Why)
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	if n := len(s.Detections) - shownCases; n > 0 {
		if err := a.printf("and %d more; -o json has them all\n", n); err != nil {
			return err
		}
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	what := ""
	if s.Estimate {
		what = ", an estimate"
	}
	return a.drawRates([]namedRates{{"at the frozen limit" + what, s.Frozen}, {"at the best limit" + what, s.Best}},
		"normal cases called abnormal", fmt.Sprintf("%.3f %%", 100*s.FalseRate))
}
