package analyzer

import (
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
)

// Config bounds an Analyzer. The zero value works, and is the setting that the
// measurements were made at.
type Config struct {
	Series    int                    // (entity, step) pairs remembered; 0 means 100,000
	Values    int                    // (entity, step) pairs whose numbers are watched, about 15 KiB each; 0 means 4,096
	Cases     int                    // open cases remembered; 0 means 100,000
	Kinds     int                    // kinds of entities whose order of steps is learned; 0 means 64
	Window    int                    // observations after which a window closes; 0 means 50
	MinSpan   time.Duration          // but not sooner than this after it opened; 0 means 1 minute
	MaxSpan   time.Duration          // or this long after it opened, when it has baseline.Young of them; 0 means 24 hours
	Skew      time.Duration          // how far in the future an event may lie; 0 means 5 minutes
	Idle      time.Duration          // a case that is silent this long, and of which nothing is expected, has ended; 0 means 24 hours
	Adopt     time.Duration          // a deviation this long is the new normal; 0 means 21 days
	Remember  int                    // idempotency keys remembered, at least; 0 means 262,144
	Zone      *time.Location         // of the hours of the week; nil means UTC
	Discovery detect.DiscoveryConfig // the bound on false alarms
}

// windows returns the bound for windows: half of the false alarms allowed.
func (c Config) windows() detect.DiscoveryConfig {
	d := c.Discovery.WithDefaults()
	d.FalseAlarms /= 2
	return d
}

// singles returns the bound for statements of single events and of whole cases:
// the other half, and half of the share allowed, because a fitted tail is less
// sure than a test.
func (c Config) singles() detect.DiscoveryConfig {
	d := c.windows()
	d.Q /= 2
	return d
}

func (c Config) withDefaults() Config {
	set := func(v *int, value int) {
		if *v <= 0 {
			*v = value
		}
	}
	span := func(v *time.Duration, value time.Duration) {
		if *v <= 0 {
			*v = value
		}
	}
	set(&c.Series, 100_000)
	set(&c.Values, 4096)
	set(&c.Cases, 100_000)
	set(&c.Kinds, 64)
	set(&c.Window, 50)
	set(&c.Remember, 1<<18)
	span(&c.MinSpan, time.Minute)
	span(&c.MaxSpan, 24*time.Hour)
	span(&c.Skew, 5*time.Minute)
	span(&c.Idle, 24*time.Hour)
	span(&c.Adopt, 21*24*time.Hour)
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	return c
}
