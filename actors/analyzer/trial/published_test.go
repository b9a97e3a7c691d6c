package trial

import (
	"cmp"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy/actors/analyzer/score"
)

// published returns the directory of the published sets, or skips the test and
// says what it did not check. It is ENTROPY_DATA, or beside the project.
func published(t *testing.T, set string) string {
	t.Helper()
	if raceEnabled {
		t.Skip("not under the race detector: " + set + " is checked by the plain tests and by make bench-entropy")
	}
	dir := filepath.Join(cmp.Or(os.Getenv("ENTROPY_DATA"), filepath.Join("..", "..", "..", "..", "shared", "data")), set)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%s is not here: its score was not checked; set ENTROPY_DATA to where it is", set)
	}
	return dir
}

func read[T any](t *testing.T, file string, f func(io.Reader) (T, error)) T {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var r io.Reader = in
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(in); err != nil {
			t.Fatal(err)
		}
	}
	v, err := f(r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// proves E-7: the score on the numeric series does not fall below that of the
// best published detector but one.
func TestPublishedNAB(t *testing.T) {
	dir := published(t, "nab")
	windows := read(t, filepath.Join(dir, "labels", "combined_windows.json"), score.ReadWindows)
	files, _ := filepath.Glob(filepath.Join(dir, "data", "*", "*.csv"))
	var set []score.Series
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		s := read(t, file, func(r io.Reader) (score.Series, error) { return score.ReadSeries(name, r) })
		s.Windows = windows[name]
		set = append(set, s)
	}
	NAB(set)
	if r := score.NAB(set, score.Profiles[0], 1); r.Score < 66.6 {
		t.Errorf("%.2f on %d series", r.Score, len(set))
	}
}

// proves E-7: of the changes of order that show in which step follows which,
// all are found, and nothing else.
func TestPublishedDrift(t *testing.T) {
	dir := published(t, "cdrift")
	found, matched := 0, 0
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.xes.gz"))
	for _, file := range files {
		truth := []int{499}
		if strings.HasPrefix(filepath.Base(file), "bose") {
			truth = []int{1199, 2399, 3599, 4799}
		}
		var at []int
		for _, c := range Drift(read(t, file, score.ReadXES)) {
			at = append(at, c.Case)
		}
		m, _ := score.Drift(at, truth, score.Tolerance)
		found, matched = found+len(at), matched+m
	}
	if matched < 12 || found > matched {
		t.Errorf("%d of %d detections in %d logs are right", matched, found, len(files))
	}
}

// proves E-7: the estimate for HDFS reaches the published one of DeepLog.
func TestPublishedHDFS(t *testing.T) {
	dir := filepath.Join(published(t, "hdfs"), "hdfs_logdeep")
	train := read(t, filepath.Join(dir, "hdfs_train"), score.ReadSequences)
	abnormal := read(t, filepath.Join(dir, "hdfs_test_abnormal"), score.ReadSequences)
	var plain []score.Verdict
	for _, v := range Sequences(train, nil, abnormal, 552_640) {
		plain = append(plain, v.Verdict)
	}
	if r := score.Sequences(plain); r.Frozen.F1 < 0.945 {
		t.Errorf("F1 %.4f", r.Frozen.F1)
	}
}
