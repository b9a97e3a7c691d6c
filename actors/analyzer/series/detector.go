package series

import (
	"math"
	"time"
)

// The views from which a value is looked at.
const (
	level    = iota // its distance from the slow mean
	jump            // from the value before
	season          // from what is usual at this time of day
	unrest          // how much values have moved lately, against how much they do
	shift           // the distance of the fast mean from the slow one
	relative        // the distance from the slow mean in units of how much values move
	habit           // the distance from what is usual at this time of day, lately
	views
)

var viewNames = [views]string{"level", "jump", "season", "unrest", "shift", "relative level", "habit"}

// Config sets a Detector. The zero value is the one frozen setting that the
// benchmark is run at.
type Config struct {
	Weights   [views]float64 // of the views' bits; 0: a view is not looked from
	HalfLife  float64        // values until one counts half
	Alpha     float64        // the power by which the unseen falls off
	Prior     float64        // the weight of what was never seen
	Fast      float64        // values that the fast mean and the recent unrest are over
	Slow      float64        // values that the slow mean and the usual unrest are over
	Slots     int            // parts of the day that are told apart
	Usual     float64        // values of a part of the day that what is usual in it is over
	Lately    float64        // values that the habit is over
	Floor     float64        // the smallest residual told from 0, of the usual distance from the mean
	Smooth    float64        // the share of the newest in the running mean of the bits
	Threshold float64        // bits of that mean from which a value is an alarm
	Habitual  float64        // bits more for each doubling of the alarms of the last half-life: a series that often alarms surprises less
	Pause     int            // values after an alarm without another
	Warm      int            // values before the first
}

// Reading is what is said of one value.
type Reading struct {
	Bits  float64 `json:"bits"`  // the running mean of the surprise
	Limit float64 `json:"limit"` // from which it is an alarm
	Alarm bool    `json:"alarm"`
	View  string  `json:"view"`  // from which the value itself surprises most
	Usual float64 `json:"usual"` // the slow mean before the value
	N     int     `json:"n"`     // values before it
}

// Detector watches one series. It is owned by one goroutine and takes the same
// memory for ever.
type Detector struct {
	config     Config
	growth     float64
	tails      [views]tail
	n          float64
	before     float64
	fast, slow float64 // means
	unrest     float64 // mean absolute step, lately
	usual      float64 // and usually
	distance   float64 // mean absolute distance from the slow mean
	slots      []slot
	habit      float64
	surprise   float64 // running mean of the bits
	alarms     float64 // of the last half-life
	pause      int
}

// slot is the usual value of a part of the day.
type slot struct{ mean, n float64 }

// New returns a detector that has seen nothing.
func New(c Config) *Detector {
	if c.HalfLife <= 0 {
		c = Shipped()
	}
	d := &Detector{config: c, growth: math.Exp2(1 / c.HalfLife), slots: make([]slot, c.Slots)}
	for i := range d.tails {
		d.tails[i].weight = 1
	}
	return d
}

// Observe takes the next value in. Times must not fall; the time of day is
// that of at's location.
func (d *Detector) Observe(at time.Time, x float64) Reading {
	c := &d.config
	n, usual := int(d.n), d.slow
	residuals, scale, part := d.residuals(at, x)
	var best, sum float64
	view := 0
	for v, r := range residuals {
		if c.Weights[v] <= 0 {
			continue
		}
		bits := c.Weights[v] * d.tails[v].bits(r, scale, c.Alpha, c.Prior)
		if sum += bits; bits > best {
			best, view = bits, v
		}
		d.tails[v].learn(r, scale, d.growth)
	}
	// The most surprising view, and half of all together: what is seen from
	// several sides counts more than what is seen from one.
	d.surprise += c.Smooth * ((best+sum/2)/2 - d.surprise)
	d.slow += d.share(c.Slow) * (x - d.slow)
	part.n++
	part.mean += max(1/c.Usual, 1/part.n) * (x - part.mean)
	d.before = x
	r := d.decide(viewNames[view])
	r.N, r.Usual = n, usual
	return r
}

// residuals returns the signed surprise of a value in its own units from each
// view, the smallest size that counts, and the part of the day it lies in.
func (d *Detector) residuals(at time.Time, x float64) ([views]float64, float64, *slot) {
	c := &d.config
	if d.n == 0 {
		d.fast, d.slow, d.before = x, x, x
	}
	d.n++
	step, slow := x-d.before, d.share(c.Slow)
	d.fast += d.share(c.Fast) * (x - d.fast)
	d.unrest += d.share(c.Fast) * (math.Abs(step) - d.unrest)
	d.usual += slow * (math.Abs(step) - d.usual)
	d.distance += slow * (math.Abs(x-d.slow) - d.distance)
	scale := max(c.Floor*d.distance, 1e-9, 1e-6*math.Abs(d.slow))
	seconds := at.Hour()*3600 + at.Minute()*60 + at.Second()
	part := &d.slots[seconds*c.Slots/86400]
	usual := d.slow
	if part.n > 0 {
		usual = part.mean
	}
	d.habit += (x - usual - d.habit) / c.Lately
	return [views]float64{
		level:    x - d.slow,
		jump:     step,
		season:   x - usual,
		unrest:   math.Log((d.unrest+scale)/(d.usual+scale)) * d.distance,
		shift:    d.fast - d.slow,
		relative: (x - d.slow) / (d.usual + scale) * d.distance,
		habit:    d.habit,
	}, scale, part
}

// share returns the share of the newest in a mean over n values, which is a
// plain mean until there are as many.
func (d *Detector) share(n float64) float64 { return max(1/n, 1/d.n) }

// decide says whether the running surprise is an alarm.
func (d *Detector) decide(view string) Reading {
	c := &d.config
	d.alarms /= d.growth
	r := Reading{Bits: d.surprise, Limit: c.Threshold + c.Habitual*math.Log2(1+d.alarms), View: view}
	switch {
	case d.pause > 0:
		d.pause--
	case d.n > float64(c.Warm) && d.surprise >= r.Limit:
		r.Alarm = true
		d.alarms++
		d.pause, d.surprise = c.Pause, 0
	}
	return r
}
