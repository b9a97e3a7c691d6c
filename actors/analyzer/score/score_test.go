package score

import (
	"math"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// series returns a series of n minutes with windows given as rows.
func series(n int, scores map[int]float64, windows ...[2]int) Series {
	s := Series{Name: "a", Scores: make([]float64, n)}
	for i := range n {
		s.Times = append(s.Times, day.Add(time.Duration(i)*time.Minute))
		s.Scores[i] = scores[i]
	}
	for _, w := range windows {
		s.Windows = append(s.Windows, Window{s.Times[w[0]], s.Times[w[1]]})
	}
	return s
}

// proves E-7: the NAB score of constructed detections is what its rules say.
func TestNAB(t *testing.T) {
	standard := Profiles[0]
	tests := []struct {
		name   string
		scores map[int]float64
		want   float64
	}{
		{"nothing", nil, 0},
		{"the first row of the window", map[int]float64{500: 1}, 100},
		{"the last row of the window", map[int]float64{599: 1}, 50 * (1 + sigmoid(-0.01)/sigmoid(-1))},
		{"both count as the first", map[int]float64{500: 1, 599: 1}, 100},
		{"far before any window", map[int]float64{400: 1}, 50 * -0.11},
		{"in the probation", map[int]float64{10: 1}, 0},
		{"half a window behind", map[int]float64{599 + 50: 1}, 50 * 0.11 * sigmoid(50.0/99)},
		{"far behind", map[int]float64{990: 1}, 50 * 0.11 * sigmoid(391.0/99)},
	}
	for _, tt := range tests {
		got := NAB([]Series{series(1000, tt.scores, [2]int{500, 599})}, standard, 0.5)
		if math.Abs(got.Score-tt.want) > 1e-9 {
			t.Errorf("%s: %.6f, want %.6f", tt.name, got.Score, tt.want)
		}
	}
}

// proves E-7: a window that no row lies in is missed, and breaks nothing.
func TestNABWindowBetweenRows(t *testing.T) {
	s := series(1000, map[int]float64{700: 1})
	at := s.Times[500].Add(time.Second)
	s.Windows = []Window{{at, at.Add(time.Second)}, {s.Times[700], s.Times[750]}}
	if r := NAB([]Series{s}, Profiles[0], 0.5); math.Abs(r.Score-50) > 1e-9 || r.Hit != 1 || r.Windows != 2 {
		t.Errorf("%+v", r)
	}
}

// proves E-7: the best threshold is found where a scan of all of them finds it.
func TestBestNABAgainstScan(t *testing.T) {
	scores := map[int]float64{}
	for i := range 1000 {
		scores[i] = float64((i*7919)%101) / 100
	}
	set := []Series{series(1000, scores, [2]int{300, 360}, [2]int{700, 790}), series(1000, scores, [2]int{500, 599})}
	for _, p := range Profiles {
		best := math.Inf(-1)
		for i := range 102 {
			best = max(best, NAB(set, p, float64(i)/100).Score)
		}
		if got := BestNAB(set, p).Score; math.Abs(got-best) > 1e-9 {
			t.Errorf("%s: %.6f, a scan finds %.6f", p.Name, got, best)
		}
	}
}

// proves E-7: detections are matched one to one, as many as can be.
func TestDriftMatching(t *testing.T) {
	tests := []struct {
		detected, truth   []int
		matched, distance int
	}{
		{nil, []int{499}, 0, 0},
		{[]int{447}, []int{499}, 1, 52},
		{[]int{299, 699}, []int{499}, 1, 200},
		{[]int{298, 700}, []int{499}, 0, 0},
		{[]int{1100, 1300}, []int{1199, 1399}, 2, 99 + 99},
		{[]int{1350, 1150}, []int{1199, 1399}, 2, 49 + 49},
	}
	for _, tt := range tests {
		m, d := Drift(tt.detected, tt.truth, Tolerance)
		if m != tt.matched || d != tt.distance {
			t.Errorf("%v of %v: %d at %d, want %d at %d", tt.detected, tt.truth, m, d, tt.matched, tt.distance)
		}
	}
}

// proves E-7: precision, recall and F1 of weighted cases.
func TestSequences(t *testing.T) {
	v := []Verdict{{3, true, 1}, {2, false, 2}, {1, true, 1}, {-1, true, 1}, {-2, false, 10}}
	r := Sequences(v)
	if want := NewRates(2, 2, 1); r.Frozen != want {
		t.Errorf("frozen %+v, want %+v", r.Frozen, want)
	}
	if want := NewRates(3, 2, 0); r.Best != want || r.BestLimit != -1 {
		t.Errorf("best %+v at %v, want %+v", r.Best, r.BestLimit, want)
	}
	if r.FalseRate != 2.0/12 {
		t.Errorf("false rate %v", r.FalseRate)
	}
}

// proves E-7: the files of the benchmarks are read, and others refused.
func TestRead(t *testing.T) {
	const log = `<?xml version="1.0"?><log><global scope="event"><string key="concept:name" value="no"/></global>
<trace><string key="concept:name" value="7"/><event><string key="concept:name" value="A"/><list><string key="concept:name" value="no"/></list></event>
<event><date key="time:timestamp" value="x"/><string key="concept:name" value="B &amp; C"/></event></trace><trace/></log>`
	cases, err := ReadXES(strings.NewReader(log))
	if err != nil || len(cases) != 2 || cases[0].ID != "7" || strings.Join(cases[0].Steps, "|") != "A|B & C" {
		t.Errorf("%v, %v", cases, err)
	}
	if _, err := ReadXES(strings.NewReader(log[:200])); err == nil {
		t.Error("a log that was cut off is not refused")
	}
	cases, err = ReadSequences(strings.NewReader("a,b,1 2 3\n\n4 5 \n"))
	if err != nil || len(cases) != 2 || cases[0].ID != "a,b" || len(cases[0].Steps) != 3 || len(cases[1].Steps) != 2 {
		t.Errorf("%v, %v", cases, err)
	}
	s, err := ReadSeries("x", strings.NewReader("timestamp,value\n2014-07-01 00:00:00,1.5\n2014-07-01 00:30:00.000000,2\n"))
	if err != nil || len(s.Values) != 2 || s.Values[1] != 2 || s.Times[1].Minute() != 30 {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := ReadSeries("x", strings.NewReader("timestamp,value\n2014-07-01 00:00:00,NaN\n")); err == nil {
		t.Error("a value that is no number is not refused")
	}
	w, err := ReadWindows(strings.NewReader(`{"a/b.csv":[["2014-04-10 07:15:00.000000","2014-04-11 16:45:00.000000"]]}`))
	if err != nil || len(w["a/b.csv"]) != 1 || w["a/b.csv"][0].To.Hour() != 16 {
		t.Errorf("%v, %v", w, err)
	}
}
