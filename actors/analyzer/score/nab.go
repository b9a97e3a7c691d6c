package score

import (
	"math"
	"slices"
	"time"
)

// Profile weighs hits and errors of the Numenta Anomaly Benchmark.
type Profile struct {
	Name       string  `json:"name"`
	TP, FN, FP float64 `json:"-"` // the weights of a window hit, a window missed, a row wrongly flagged
}

// Profiles are the three of NAB v1.1, config/profiles.json.
var Profiles = []Profile{
	{Name: "standard", TP: 1, FN: 1, FP: 0.11},
	{Name: "reward_low_FP_rate", TP: 1, FN: 1, FP: 0.22},
	{Name: "reward_low_FN_rate", TP: 1, FN: 2, FP: 0.11},
}

// Window is one labeled anomaly, both ends included.
type Window struct{ From, To time.Time }

// Series is one file of the benchmark with its labels and, per row, the score
// that a detector gave.
type Series struct {
	Name    string
	Times   []time.Time
	Values  []float64
	Windows []Window
	Scores  []float64
}

// Probation returns how many rows at the start of n are not scored: 15 %, at
// most 750.
func Probation(n int) int { return int(min(math.Floor(0.15*float64(n)), 750)) }

// row is one scorable row: what it is worth when it is flagged.
type row struct {
	score  float64 // the detector's
	worth  float64 // of the flag, weighted
	window int     // 0 outside of any window, else a number that is unique in the set
}

// NABResult is the outcome of one threshold on one profile.
type NABResult struct {
	Profile   string  `json:"profile"`
	Threshold float64 `json:"threshold"`
	Score     float64 `json:"score"` // 0 is no detector at all, 100 is perfect
	Windows   int     `json:"windows"`
	Hit       int     `json:"hit"`
	False     int     `json:"false"` // rows flagged outside of windows
}

// NAB scores a set of series at one threshold: a row with a score of at least
// the threshold is a detection. The rules are those of Lavin & Ahmad (arXiv
// 1510.03336) as the published code has them: of the detections in a window
// the earliest counts most, by a sigmoid over the window; one outside costs by
// its distance to the window before it; a window without one costs the weight
// of a miss. The sum is scaled so that no detection is 0 and perfection 100.
func NAB(set []Series, p Profile, threshold float64) NABResult {
	rows, windows := scorable(set, p)
	best := make([]float64, windows+1)
	for i := range best {
		best[i] = -p.FN
	}
	best[0] = 0
	r := NABResult{Profile: p.Name, Threshold: threshold, Windows: windows}
	hit := make([]bool, windows+1)
	for _, x := range rows {
		switch {
		case x.score < threshold:
		case x.window > 0:
			best[x.window] = max(best[x.window], x.worth)
			hit[x.window] = true
		default:
			best[0] += x.worth
			r.False++
		}
	}
	for _, h := range hit {
		if h {
			r.Hit++
		}
	}
	r.Score = normalized(sum(best), windows, p)
	return r
}

// BestNAB returns the result at the threshold that scores highest on the set,
// which is how the published scores were taken: one threshold for the whole
// set, chosen on the set.
func BestNAB(set []Series, p Profile) NABResult {
	rows, windows := scorable(set, p)
	slices.SortStableFunc(rows, func(a, b row) int { return cmpFloat(b.score, a.score) })
	best := make([]float64, windows+1)
	for i := 1; i <= windows; i++ {
		best[i] = -p.FN
	}
	at, top := math.Inf(1), sum(best)
	now := top
	for i, x := range rows {
		if x.window > 0 {
			if x.worth > best[x.window] {
				now += x.worth - best[x.window]
				best[x.window] = x.worth
			}
		} else {
			now += x.worth
		}
		if last := i == len(rows)-1 || rows[i+1].score != x.score; last && now > top {
			at, top = x.score, now
		}
	}
	return NAB(set, p, at)
}

func normalized(raw float64, windows int, p Profile) float64 {
	if windows == 0 {
		return 0
	}
	null, perfect := -p.FN*float64(windows), p.TP*float64(windows)
	return 100 * (raw - null) / (perfect - null)
}

// scorable returns the rows of a set that count, with what each is worth, and
// the number of windows.
func scorable(set []Series, p Profile) ([]row, int) {
	var rows []row
	windows := 0
	for _, s := range set {
		rows = append(rows, s.rows(p, windows)...)
		windows += len(s.Windows)
	}
	return rows, windows
}

func (s Series) rows(p Profile, before int) []row {
	var rows []row
	probation := Probation(len(s.Times))
	maxTP := sigmoid(-1)
	next, current, right := 0, 0, 0
	var width, lastWidth float64
	lastRight := -1
	for i, at := range s.Times {
		if current == 0 && next < len(s.Windows) && !at.Before(s.Windows[next].From) {
			next++
			if last := s.lastRow(s.Windows[next-1].To); last >= i { // else no row lies in it, and it is missed
				current, right, width = next, last, float64(last-i+1)
			}
		}
		var r row
		switch {
		case current > 0:
			r = row{worth: sigmoid(-float64(right-i+1)/width) * p.TP / maxTP, window: before + current}
		case lastRight < 0:
			r = row{worth: -p.FP}
		default:
			r = row{worth: sigmoid(float64(i-lastRight)/(lastWidth-1)) * p.FP}
		}
		if r.score = s.Scores[i]; i >= probation {
			rows = append(rows, r)
		}
		if current > 0 && i >= right {
			lastRight, lastWidth, current = i, width, 0
		}
	}
	return rows
}

// lastRow returns the last row that is not after to.
func (s Series) lastRow(to time.Time) int {
	i, found := slices.BinarySearchFunc(s.Times, to, func(a, b time.Time) int { return a.Compare(b) })
	if found || i == 0 {
		for i+1 < len(s.Times) && s.Times[i+1].Equal(to) {
			i++
		}
		return i
	}
	return i - 1
}

// sigmoid is NAB's scaled sigmoid of the relative position to a window: the
// window is -1 to 0, and what is more than three windows behind is plainly
// false.
func sigmoid(x float64) float64 {
	if x > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*x)) - 1
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
