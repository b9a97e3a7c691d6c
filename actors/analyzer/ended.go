package analyzer

import (
	"slices"
	"time"
)

// Ended says that a deviation is none any more. It is known by the entity, the
// step, the channel and the begin of what was deviating; late and missing ones
// of the same wait end together, under the channel missing or late that was said last.
type Ended struct {
	Entity  string    `json:"entity"`
	Step    string    `json:"step"`
	Channel string    `json:"channel"`
	Case    string    `json:"case,omitempty"`
	From    time.Time `json:"from"` // Deviation.From
	At      time.Time `json:"at"`
	How     string    `json:"how"`
}

// How a deviation ends.
const (
	EndedNormal    = "normal"    // three windows in a row were as they used to be
	EndedAdopted   = "adopted"   // it has lasted so long that it is the new normal
	EndedCame      = "came"      // what was late or missing came after all
	EndedGivenUp   = "given_up"  // it never came, and the case is closed; or, of a kind, its entities are tested by themselves now
	EndedForgotten = "forgotten" // for want of room
)

// Ended returns which deviations ended since it was last asked, in order.
func (a *Analyzer) Ended() []Ended {
	ended := a.ended
	a.ended = nil
	return ended
}

// absentEnded notes that a wait that was called late or missing is over.
func (a *Analyzer) absentEnded(w *wait, at time.Time, how string) {
	e := Ended{Channel: Missing, From: w.since, At: at, How: how}
	switch w.stage {
	case late:
		e.Channel = Late
	case missing, certain:
	default:
		return
	}
	e.Entity, e.Step = w.series.name(), w.series.step
	if w.of != nil {
		e.Case = w.of.id
	}
	a.ended = append(a.ended, e)
}

// windowEnded ends the open deviation of a series' windows.
func (a *Analyzer) windowEnded(s *series, at time.Time, how string) {
	a.ended = append(a.ended, Ended{Entity: s.name(), Step: s.step, Channel: s.as, From: s.from, At: at, How: how})
	s.opened, s.as, s.from = time.Time{}, "", time.Time{}
	a.open--
}

// latestWindow returns until when the series' windows reach.
func (s *series) latestWindow() time.Time {
	return slices.MaxFunc([]time.Time{s.now.to, s.opened}, time.Time.Compare)
}
