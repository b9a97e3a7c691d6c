package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/score"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
	"github.com/entropy-fabric/entropy/actors/analyzer/trial"
)

const scoreLong = `Measure the entropy layer on files, at the one setting that it ships with: what
it detects, and the score by the benchmark's own rules. It needs no control plane
and changes nothing. docs/ENTROPY.md has the scores on the published sets.`

func (a *app) scoreCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "score", Short: "Measure the detection of anomalies on files", Long: scoreLong},
		a.scoreNABCommand(), a.scoreDriftCommand(), a.scoreSequencesCommand(), a.scoreGeneratedCommand())
}

// nabScore is the answer of score nab.
type nabScore struct {
	Series     int               `json:"series"`
	Detections []trial.Detection `json:"detections"`
	Scores     []score.NABResult `json:"scores"`
}

const scoreNABLong = `Run the detector of numeric series over a directory of the Numenta Anomaly
Benchmark: DIR/data/<category>/<file>.csv, DIR/labels/combined_windows.json.

The score is NAB's (Lavin & Ahmad, arXiv 1510.03336) for its three profiles: 0 is no
detection at all, 100 perfect. The detector's own threshold is used, for all series,
where published scores use the one that is best on the set. The benchmark has known
flaws (Wu & Keogh, arXiv 2009.13807).`

func (a *app) scoreNABCommand() *cobra.Command {
	c := &cobra.Command{Use: "nab DIR", Short: "Score the detector of numeric series on NAB", Long: scoreNABLong, Args: argument(1, 1, "the directory")}
	return a.command(c, func(_ context.Context, args []string) error {
		set, err := readNAB(args[0])
		if err != nil {
			return err
		}
		s := nabScore{Series: len(set), Detections: trial.NAB(set)}
		for _, p := range score.Profiles {
			s.Scores = append(s.Scores, score.NAB(set, p, 1))
		}
		return a.one(s, func() error { return a.drawNAB(&s) })
	})
}

func (a *app) drawNAB(s *nabScore) error {
	t := new(table)
	t.row("SERIES", "AT", "VALUE", "BITS", "SEEN AS")
	for _, d := range s.Detections {
		t.row(d.Series, d.At.Format("2006-01-02 15:04:05"), strconv.FormatFloat(d.Value, 'g', 6, 64), decimal(d.Bits, 1), d.View)
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	t = new(table)
	t.row("PROFILE", "SCORE", "WINDOWS HIT", "FALSE ALARMS")
	for _, r := range s.Scores {
		t.row(r.Profile, decimal(r.Score, 2), itoa(r.Hit)+" of "+itoa(r.Windows), itoa(r.False))
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return t.write(a.stdout)
}

// readNAB reads the series of a directory, in order of their names.
func readNAB(dir string) ([]score.Series, error) {
	labels, err := os.Open(filepath.Join(dir, "labels", "combined_windows.json"))
	if err != nil {
		return nil, missingFile(err, "the directory holds data/ and labels/, as github.com/numenta/NAB does")
	}
	defer labels.Close()
	windows, err := score.ReadWindows(labels)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "data", "*", "*.csv"))
	if err != nil || len(files) == 0 {
		return nil, usagef("%s holds no series", filepath.Join(dir, "data")).WithHint("they are data/<category>/<file>.csv")
	}
	slices.Sort(files)
	var set []score.Series
	for _, file := range files {
		name := filepath.ToSlash(filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)))
		err := reading(file, func(r io.Reader) error {
			s, err := score.ReadSeries(name, r)
			s.Windows = windows[name]
			set = append(set, s)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return set, nil
}

// driftLog is what was found in one log.
type driftLog struct {
	File    string            `json:"file"`
	Cases   int               `json:"cases"`
	Changes []sequence.Change `json:"changes"`
	Truth   []int             `json:"truth,omitempty"`
	Matched int               `json:"matched"`
}

// driftScore is the answer of score drift.
type driftScore struct {
	Logs      []driftLog   `json:"logs"`
	Tolerance int          `json:"tolerance"`
	Rates     *score.Rates `json:"rates,omitempty"` // nil: the truth is not known
	MeanLag   float64      `json:"meanLag"`         // cases between a change and its detection
}

const scoreDriftLong = `Find the changes of the order of steps in event logs (XES, also gzipped), each log
for itself, in the order of the file.

With --truth, or FILE@N,N,… for one file, the changes are scored as in the published
comparison (Adams et al., PVLDB 16(8), 2023): a detection counts within 200 cases of a
change, one for one; precision, recall and F1 over all logs together.`

func (a *app) scoreDriftCommand() *cobra.Command {
	var truth []int
	c := &cobra.Command{Use: "drift [--truth N,N,…] FILE.xes.gz…", Short: "Score the detector of changed order on event logs", Long: scoreDriftLong, Args: argument(1, -1, "a log")}
	c.Flags().IntSliceVar(&truth, "truth", nil, "the `CASES`, from 0, at which each log changes")
	return a.command(c, func(_ context.Context, args []string) error {
		s := driftScore{Tolerance: score.Tolerance}
		var found, expected, matched, distance int
		for _, arg := range args {
			l, lag, err := scoreLog(arg, truth)
			if err != nil {
				return err
			}
			s.Logs = append(s.Logs, l)
			found, expected, matched, distance = found+len(l.Changes), expected+len(l.Truth), matched+l.Matched, distance+lag
		}
		if expected > 0 {
			r := score.NewRates(float64(matched), float64(found-matched), float64(expected-matched))
			s.Rates = &r
			s.MeanLag = float64(distance) / float64(max(1, matched))
		}
		return a.one(s, func() error { return a.drawDrift(&s) })
	})
}

// scoreLog reads one log, FILE or FILE@N,N,…, and finds its changes.
func scoreLog(arg string, truth []int) (driftLog, int, error) {
	file := arg
	if before, after, ok := cutLast(arg, "@"); ok {
		own, err := numbers(after)
		if err != nil {
			return driftLog{}, 0, err
		}
		file, truth = before, own
	}
	var cases []score.Case
	err := reading(file, func(r io.Reader) (err error) {
		cases, err = score.ReadXES(r)
		return err
	})
	if err != nil {
		return driftLog{}, 0, err
	}
	l := driftLog{File: file, Cases: len(cases), Changes: trial.Drift(cases), Truth: truth}
	if l.Changes == nil {
		l.Changes = []sequence.Change{}
	}
	at := make([]int, len(l.Changes))
	for i, c := range l.Changes {
		at[i] = c.Case
	}
	var lag int
	l.Matched, lag = score.Drift(at, truth, score.Tolerance)
	return l, lag, nil
}

func (a *app) drawDrift(s *driftScore) error {
	t := new(table)
	t.row("LOG", "CASES", "CHANGE AT", "BITS", "WHAT CHANGED MOST")
	for _, l := range s.Logs {
		if len(l.Changes) == 0 {
			t.row(filepath.Base(l.File), itoa(l.Cases), "none", "", "")
		}
		for _, c := range l.Changes {
			t.row(filepath.Base(l.File), itoa(l.Cases), itoa(c.Case), decimal(c.Bits, 0), shiftWords(c.Why))
		}
	}
	if err := t.write(a.stdout); err != nil || s.Rates == nil {
		return err
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.drawRates([]namedRates{{"changes, within " + itoa(s.Tolerance) + " cases", *s.Rates}}, "mean distance", decimal(s.MeanLag, 1)+" cases")
}

func shiftWords(why []sequence.Shift) string {
	if len(why) == 0 {
		return ""
	}
	w := why[0]
	return fmt.Sprintf("%s → %s: %.0f %% → %.0f %%", w.After, w.Then, 100*w.Was, 100*w.Is)
}

// namedRates is one line of a table of rates.
type namedRates struct {
	name  string
	rates score.Rates
}

// drawRates writes rates, and further pairs of names and values.
func (a *app) drawRates(rows []namedRates, more ...string) error {
	t := new(table)
	t.row("", "PRECISION", "RECALL", "F1", "TRUE", "FALSE", "MISSED")
	for _, r := range rows {
		t.row(r.name, decimal(r.rates.Precision, 4), decimal(r.rates.Recall, 4), decimal(r.rates.F1, 4),
			decimal(r.rates.TP, 0), decimal(r.rates.FP, 0), decimal(r.rates.FN, 0))
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	for i := 0; i+1 < len(more); i += 2 {
		if err := a.printf("%s: %s\n", more[i], more[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func decimal(x float64, digits int) string { return strconv.FormatFloat(x, 'f', digits, 64) }

func numbers(list string) ([]int, error) {
	var all []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, usagef("%q is not a list of cases", list).WithHint("write it as in 1199,2399")
		}
		all = append(all, n)
	}
	return all, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// input hands a file to f, or the standard input when it is called "-".
func (a *app) input(file string, f func(io.Reader) error) error {
	if file == "-" {
		return f(a.stdin)
	}
	return reading(file, f)
}

// reading opens a file, gunzips it when its name says so, and hands it to f.
func reading(file string, f func(io.Reader) error) error {
	in, err := os.Open(file)
	if err != nil {
		return missingFile(err, "give the path of a file that is there")
	}
	defer in.Close()
	var r io.Reader = in
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return usagef("%s: %v", file, err).WithHint("a file called .gz is gzipped")
		}
		r = z
	}
	err = f(r)
	if known, ok := errors.AsType[*entropy.Error](err); ok {
		return usagef("%s: %s", file, known.Message).WithHint("%s", known.Hint)
	}
	if err != nil {
		return usagef("%s: %v", file, err)
	}
	return nil
}

// missingFile makes a file that is not there a usage error.
func missingFile(err error, hint string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%v", err).WithHint("%s", hint)
	}
	return err
}
