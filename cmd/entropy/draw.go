package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// width returns how many columns there are to draw in.
func (a *app) width() int {
	if n := a.columns(); n > 0 {
		return n
	}
	return 80
}

// columns returns how many columns the terminal has: COLUMNS, else what it says; 0
// where there is none.
func (a *app) columns() int {
	if n, err := strconv.Atoi(a.env("COLUMNS")); err == nil && n > 0 {
		return max(n, leastWidth)
	}
	if f, ok := a.stdout.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			return max(int(ws.Col), leastWidth)
		}
	}
	return 0
}

const leastWidth = 20

// sparkline draws values between low and high as blocks of eight heights.
func sparkline(values []float64, low, high float64) string {
	const blocks = "▁▂▃▄▅▆▇█"
	runes := []rune(blocks)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if high > low {
			i = int((v - low) / (high - low) * 7.999)
		}
		b.WriteRune(runes[max(0, min(7, i))])
	}
	return b.String()
}

// bar draws a share of a whole over n columns, to an eighth of one.
func bar(share, whole float64, n int) string {
	const eighths = "▏▎▍▌▋▊▉█"
	if whole <= 0 || share <= 0 {
		return ""
	}
	units := int(share/whole*float64(n)*8 + 0.5)
	s := strings.Repeat("█", units/8)
	if units%8 > 0 {
		s += string([]rune(eighths)[units%8-1])
	}
	return s
}

// inWords writes milliseconds as people say them.
func inWords(ms int64) string { return short(float64(ms)) }

// short writes milliseconds in few characters.
func short(ms float64) string {
	switch {
	case ms < 1000:
		return fmt.Sprintf("%.3gms", ms)
	case ms < 120_000:
		return fmt.Sprintf("%.3gs", ms/1000)
	case ms < 7_200_000:
		return fmt.Sprintf("%.3gm", ms/60_000)
	case ms < 172_800_000:
		return fmt.Sprintf("%.3gh", ms/3_600_000)
	}
	return fmt.Sprintf("%.3gd", ms/86_400_000)
}

// mostRows bounds the rows of a histogram.
const mostRows = 24

// ranges joins neighboring ranges until there are few enough to be looked at.
func ranges(all []entropy.EntropyRange) []entropy.EntropyRange {
	for len(all) > mostRows {
		var joined []entropy.EntropyRange
		for i := 0; i < len(all); i += 2 {
			r := all[i]
			if i+1 < len(all) {
				r.To, r.Now, r.Normal = all[i+1].To, r.Now+all[i+1].Now, r.Normal+all[i+1].Normal
			}
			joined = append(joined, r)
		}
		all = joined
	}
	return all
}

// drawSeries draws a window beside what is normal, and says why.
func (a *app) drawSeries(s *entropy.EntropySeries) error {
	var b strings.Builder
	width := a.width()
	fmt.Fprintf(&b, "%s  %s\n", printable(s.EntityID), printable(s.Step))
	state := "as usual"
	switch {
	case s.Open:
		state = "deviates: " + s.Channel
	case !s.Tested:
		state = "still learning"
	}
	fmt.Fprintf(&b, "%s; %.0f observations are what is normal\n", state, s.N)
	if len(s.Buckets) > 0 {
		fmt.Fprintf(&b, "window %s to %s\n", s.Window.From.UTC().Format("2006-01-02 15:04:05"), s.Window.To.UTC().Format("2006-01-02 15:04:05"))
		drawHistogram(&b, ranges(s.Buckets), width)
		fmt.Fprintf(&b, "half up to %s (normally %s), 95 %% up to %s (normally %s)\n", inWords(s.P50), inWords(s.NormalP50), inWords(s.P95), inWords(s.NormalP95))
		fmt.Fprintf(&b, "entropy %.2f bits (normally %.2f), %.3f bits apart, p %.2g\n", s.Entropy, s.Normal, s.JSDBits, s.P)
	}
	for _, w := range s.Why {
		fmt.Fprintf(&b, "  %s\n", printable(w))
	}
	drawRest(&b, s, width)
	return a.printf("%s", b.String())
}

// drawHistogram draws the two distributions side by side, or where there is no room
// for bars their numbers.
func drawHistogram(b *strings.Builder, rows []entropy.EntropyRange, width int) {
	most := 0.0
	for _, r := range rows {
		most = max(most, r.Now, r.Normal)
	}
	label := func(r entropy.EntropyRange) string { return short(r.From) + "–" + short(r.To) }
	const labelWidth, number = 15, 5
	n := (width - labelWidth - 2*(number+2)) / 2
	if n < 4 {
		fmt.Fprintf(b, "%-*s %6s %6s\n", labelWidth, "", "normal", "now")
		for _, r := range rows {
			fmt.Fprintf(b, "%*s %5.1f%% %5.1f%%\n", labelWidth, label(r), 100*r.Normal, 100*r.Now)
		}
		return
	}
	n = min(n, 40)
	fmt.Fprintf(b, "%*s  %-*s  %s\n", labelWidth, "", n+number, "normal", "now")
	for _, r := range rows {
		normal := bar(r.Normal, most, n)
		fmt.Fprintf(b, "%*s %4.0f%% %s%s %4.0f%% %s\n", labelWidth, label(r), 100*r.Normal, normal, strings.Repeat(" ", n-len([]rune(normal))), 100*r.Now, bar(r.Now, most, n))
	}
}

// drawRest says what else is known of a series.
func drawRest(b *strings.Builder, s *entropy.EntropySeries, width int) {
	if len(s.Outcomes) > 0 {
		var parts []string
		for _, o := range s.Outcomes {
			parts = append(parts, fmt.Sprintf("%s %.3g %% (now %.0f)", printable(o.Outcome), 100*o.Normal, o.Now))
		}
		fmt.Fprintf(b, "ends: %s\n", strings.Join(parts, ", "))
	}
	drawGap(b, "next step", s.Next)
	drawGap(b, "again", s.Again)
	if len(s.Hours) == 168 {
		var hours [24]float64
		high := 0.0
		for h, share := range s.Hours {
			hours[h%24] += share
			high = max(high, hours[h%24])
		}
		fmt.Fprintf(b, "hours of the day  %s\n", sparkline(hours[:], 0, high))
		if width >= 168+18 {
			fmt.Fprintf(b, "hours of the week %s\n", sparkline(s.Hours, 0, maxOf(s.Hours)))
		}
	}
	if len(s.Examples) > 0 {
		fmt.Fprintf(b, "cases: %s\n", printable(strings.Join(s.Examples, ", ")))
	}
	for i := range s.Found {
		d := &s.Found[i]
		state := "open"
		if !d.Open {
			state = "ended: " + dash(d.Ended)
		}
		fmt.Fprintf(b, "%s  %s %s, %.1f bits, %s\n", d.At.UTC().Format("2006-01-02 15:04"), d.Channel, d.Direction, d.Bits, state)
	}
}

func drawGap(b *strings.Builder, name string, g *entropy.ExpectedGap) {
	if g != nil {
		fmt.Fprintf(b, "%s: half within %s, 99 %% within %s, late from %s on\n", name, inWords(g.P50), inWords(g.P99), inWords(g.Late))
	}
}

func maxOf(x []float64) (m float64) {
	for _, v := range x {
		m = max(m, v)
	}
	return m
}
