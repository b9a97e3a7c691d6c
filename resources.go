package entropy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Amount is a quantity of a counted resource, in thousandths: 1500 is one and a
// half CPUs. Bytes of memory are counted the same way. Its JSON form is a number; a
// string such as "64G" is read as well.
type Amount int64

// Unit is an Amount of one: one CPU, one GPU, one byte.
const Unit Amount = 1000

// MaxAmount bounds what a job asks for and what a worker has: 10¹⁵, a petabyte of
// memory, so that sums of a few do not overflow.
const MaxAmount = 1e15 * Unit

// The resources that the fabric knows by name. Others are counted the same way.
const (
	ResourceCPU    = "cpu"
	ResourceMemory = "mem" // bytes
	ResourceGPU    = "gpu" // whole ones, or a fraction of one; each has an index
)

// ParseAmount reads "2", "0.5", "64G" or "1Gi": a decimal number of at most three
// places and an optional unit, decimal (k, M, G, T) or binary (Ki, Mi, Gi, Ti).
func ParseAmount(s string) (Amount, error) {
	digits := strings.TrimRight(s, "kKMGTi")
	scale, ok := amountUnits[s[len(digits):]]
	whole, frac, _ := strings.Cut(digits, ".")
	if !ok || len(frac) > 3 || strings.HasSuffix(digits, ".") || whole == "" || strings.ContainsAny(digits, "+-_eExX") {
		return 0, Errorf(CodeInvalid, "%q is not an amount", s).WithHint("write a number such as 2, 0.5 or 64G (units k, M, G, T, Ki, Mi, Gi, Ti)")
	}
	n, err := strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
	if err != nil || n > int64(MaxAmount)/scale {
		return 0, Errorf(CodeInvalid, "%q is not an amount, or too large", s).WithHint("write a number such as 2, 0.5 or 64G")
	}
	return Amount(n * scale), nil
}

var amountUnits = map[string]int64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

// String returns a as a decimal number without a unit.
func (a Amount) String() string {
	s := strconv.FormatInt(int64(a)/1000, 10)
	if a%1000 == 0 {
		return s
	}
	if a < 0 && a > -1000 {
		s = "-0"
	}
	return s + "." + strings.TrimRight(fmt.Sprintf("%03d", abs(int64(a)%1000)), "0")
}

func abs(n int64) int64 { return max(n, -n) }

// MarshalJSON writes a as a number.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads a number, or a string as [ParseAmount] does.
func (a *Amount) UnmarshalJSON(b []byte) (err error) {
	s := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	*a, err = ParseAmount(s)
	return err
}

// Resources is how much of each counted resource somebody has, asks for or holds.
type Resources map[string]Amount

// Fits reports whether need is within r.
func (r Resources) Fits(need Resources) bool {
	for name, n := range need {
		if r[name] < n {
			return false
		}
	}
	return true
}

// String returns r in words, in the order of the names: "cpu 4, gpu 0.5".
func (r Resources) String() string {
	parts := make([]string, 0, len(r))
	for _, name := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, name+" "+r[name].String())
	}
	return strings.Join(parts, ", ")
}

// Need is one way in which a job can be satisfied: labels that the worker must
// carry, and resources that it must have free.
type Need struct {
	Require   map[string]string `json:"require,omitempty"`
	Resources Resources         `json:"resources,omitempty"`
}

// GPUShare is a part of one GPU of a worker that an attempt owns.
type GPUShare struct {
	Index  int    `json:"index"`
	Amount Amount `json:"amount"` // Unit: the whole GPU
}

// MaxAlternatives bounds JobSpec.AnyOf.
const MaxAlternatives = 16

// Needs returns the ways in which the job can be satisfied, the preferred first;
// never none. Each is the job's own Require and Resources, overlaid with one of AnyOf.
func (s *JobSpec) Needs() []Need {
	if len(s.AnyOf) == 0 {
		return []Need{{s.Require, s.Resources}}
	}
	needs := make([]Need, len(s.AnyOf))
	for i, alt := range s.AnyOf {
		needs[i] = Need{overlay(s.Require, alt.Require), overlay(s.Resources, alt.Resources)}
	}
	return needs
}

func overlay[M ~map[string]V, V any](base, over M) M {
	if len(over) == 0 {
		return base
	}
	m := make(M, len(base)+len(over))
	maps.Copy(m, base)
	maps.Copy(m, over)
	return m
}

func validateResources(bad report, what string, r Resources) {
	if len(r) > MaxLabels {
		bad("%s has %d entries, at most %d are allowed", what, len(r), MaxLabels)
	}
	for name, n := range r {
		if err := ValidateID("resource", name); err != nil {
			bad("%s: %w", what, err)
		}
		if n <= 0 || n > MaxAmount {
			bad("%s: %s is %s; it must be more than 0", what, name, n)
		}
		if name == ResourceGPU && n > Unit && n%Unit != 0 {
			bad("%s: gpu is %s; it must be a whole number, or a fraction of one GPU", what, n)
		}
	}
}

// Demand is the part of a spec that says where and when the job may run: all that
// the scheduler knows of it. Jobs of one kind share theirs.
type Demand struct {
	Require        map[string]string `json:"require,omitempty"`
	Resources      Resources         `json:"resources,omitempty"`
	AnyOf          []Need            `json:"any_of,omitempty"`
	Image          string            `json:"image,omitempty"`
	Handler        string            `json:"handler,omitempty"`
	Priority       int               `json:"priority,omitempty"` // as submitted
	Preemptible    bool              `json:"preemptible,omitempty"`
	ConcurrencyKey string            `json:"concurrency_key,omitempty"`
	RunTimeout     Duration          `json:"run_timeout,omitzero"`
}

// Demand returns what s demands. It shares its maps with s.
func (s *JobSpec) Demand() Demand {
	return Demand{Require: s.Require, Resources: s.Resources, AnyOf: s.AnyOf, Image: s.Image, Handler: s.Handler, Priority: s.Priority,
		Preemptible: s.Preemptible, ConcurrencyKey: s.ConcurrencyKey, RunTimeout: s.RunTimeout}
}

// Spec returns a spec that demands d and says nothing else. It shares its maps with d.
func (d *Demand) Spec() JobSpec {
	return JobSpec{Require: d.Require, Resources: d.Resources, AnyOf: d.AnyOf, Image: d.Image, Handler: d.Handler, Priority: d.Priority,
		Preemptible: d.Preemptible, ConcurrencyKey: d.ConcurrencyKey, RunTimeout: d.RunTimeout}
}
