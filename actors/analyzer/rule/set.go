package rule

import (
	"time"

	"github.com/entropy-fabric/entropy"
)

// Limits of a file of rules.
const (
	MaxFile   = 1 << 20 // bytes
	MaxRules  = 200
	MaxText   = 4096 // bytes of a reason, a benefit or an expression
	MaxArgs   = 500  // values in the args of a rule
	maxFired  = 1000 // of a limit
	maxDepth  = 10   // of args in each other
	maxReport = 20   // problems that are named of one file
)

// Set is a file of rules, checked and compiled. Nobody changes it.
type Set struct {
	Zone           *time.Location // in which hours and weekdays are; UTC when the file does not say
	Storm          Storm
	Effect         time.Duration // after an action has ended, during which what deviates is its effect
	EntityCooldown time.Duration // between two actions for one entity, by whatever rule
	Judge          time.Duration // before and after an action, that are compared
	MaxAge         time.Duration // of a deviation, by the stream's time, that is acted on; 0: any
	Rules          []*Rule
	Digest         string // SHA-256 of the text, hex
}

// Storm is the guard against storms: at most AtMost actions are asked for within
// Per, by all rules. Then every rule only suggests, until none has wanted to act
// for Quiet.
type Storm struct {
	Limit
	Quiet time.Duration
}

// Limit is so many in so long. The zero value is no limit.
type Limit struct {
	AtMost int
	Per    time.Duration
}

// The settings that a file does not name.
const (
	DefaultStorm    = 20
	DefaultStormPer = 10 * time.Minute
	DefaultQuiet    = 10 * time.Minute
	DefaultEffect   = 15 * time.Minute
	DefaultEntity   = 10 * time.Minute
	DefaultJudge    = time.Hour
	DefaultMaxAge   = time.Hour // what is older is history that was imported
	DefaultCooldown = 30 * time.Minute
)

// flood bounds what is suggested, whatever the modes: more than that nobody reads.
var flood = Limit{AtMost: 100, Per: time.Hour}

// Rule says what is to be done about some deviations.
type Rule struct {
	Name       string
	When       string // the expression's text
	Mode       entropy.RuleMode
	Cooldown   time.Duration // after it fired, for the same entity
	AtMost     Limit         // over all entities
	Matches    int           // deviations of an entity before it fires; 1 means the first
	Hold       time.Duration // for which one must have lasted before it fires
	Reversible bool
	Do         Do

	when *condition
}

// Do is the action of a rule, in templates.
type Do struct {
	Command  string
	Priority string
	TTL      time.Duration
	Timeout  time.Duration
	DryRun   bool

	entity, reason, benefit *template
	args                    *argument // nil: none
}

// rule returns a rule by its name, or nil.
func (s *Set) rule(name string) *Rule {
	for _, r := range s.Rules {
		if r.Name == name {
			return r
		}
	}
	return nil
}
