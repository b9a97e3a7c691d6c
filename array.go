package entropy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ArraySpec makes a submission an array: one job, a member, for each index or
// line. The array has an ID as a job has, and stands for all of them; member k has
// the ID "ID.k", ENTROPY_INDEX and, of lines, ENTROPY_LINE in its environment, and
// in its argv the index or the line in place of Replace.
type ArraySpec struct {
	First   int      `json:"first,omitempty"`   // the first index, at least 0
	Last    int      `json:"last,omitempty"`    // the last index, at least First
	Lines   []string `json:"lines,omitempty"`   // in place of First and Last: a member for each, from index 0
	Replace string   `json:"replace,omitempty"` // what stands for the index or line in the argv; "" means "{}"
}

// Limits of arrays.
const (
	MaxArray       = 10_000   // members of one array
	MaxGroup       = 20_000   // jobs of one call, members included
	MaxGroupSize   = 64 << 20 // bytes of their specs together
	DefaultReplace = "{}"
)

// The variables of a member's environment.
const (
	EnvIndex = "ENTROPY_INDEX"
	EnvLine  = "ENTROPY_LINE" // of an array of lines
)

// Len returns how many members the array has.
func (a *ArraySpec) Len() int {
	if len(a.Lines) > 0 {
		return len(a.Lines)
	}
	return a.Last - a.First + 1
}

// Validate reports what is wrong with a, as an [Error].
func (a *ArraySpec) Validate() error {
	const most = 999_999_999 // so that no sum overflows and an ID stays short
	switch {
	case a.First < 0 || a.Last < 0 || a.First > most || a.Last > most:
		return Errorf(CodeInvalid, "array %d-%d: an index is not in 0 to %d", a.First, a.Last, most)
	case a.Last < a.First:
		return Errorf(CodeInvalid, "array %d-%d ends before it begins", a.First, a.Last).WithHint("write it as FIRST-LAST, as in 0-99")
	case len(a.Lines) > 0 && (a.First != 0 || a.Last != 0):
		return Errorf(CodeInvalid, "an array has lines, or a first and a last index, not both")
	case a.Len() > MaxArray:
		return Errorf(CodeTooLarge, "the array has %d members, at most %d are allowed", a.Len(), MaxArray).
			WithHint("submit several arrays, or give each member more to do")
	case len(a.Replace) > 256 || !utf8.ValidString(a.Replace):
		return Errorf(CodeInvalid, "the text to replace must be UTF-8 of at most 256 bytes")
	}
	for i, line := range a.Lines {
		if strings.IndexByte(line, 0) >= 0 || !utf8.ValidString(line) {
			return Errorf(CodeInvalid, "line %d holds a NUL byte or is not UTF-8", i+1)
		}
	}
	return nil
}

// value returns the index of the i-th member, and what stands for it in the argv.
func (a *ArraySpec) value(i int) (index int, text string) {
	if len(a.Lines) > 0 {
		return i, a.Lines[i]
	}
	return a.First + i, strconv.Itoa(a.First + i)
}

// member returns the ID and the spec of the i-th member. The spec shares with the
// template what no member changes.
func (a *ArraySpec) member(of JobID, template *JobSpec, i int) (JobID, JobSpec) {
	index, text := a.value(i)
	spec := *template
	spec.Array = &ArrayMember{Of: of, Index: index}
	spec.Env = maps.Clone(template.Env)
	if spec.Env == nil {
		spec.Env = make(map[string]string, 2)
	}
	spec.Env[EnvIndex] = strconv.Itoa(index)
	if len(a.Lines) > 0 {
		spec.Env[EnvLine] = text
	}
	spec.Command = slices.Clone(template.Command)
	for k, arg := range spec.Command {
		spec.Command[k] = strings.ReplaceAll(arg, orDefault(a.Replace, DefaultReplace), text)
	}
	return MemberID(of, index), spec
}

// MemberID returns the ID of a member of an array.
func MemberID(of JobID, index int) JobID { return of + "." + JobID(strconv.Itoa(index)) }

// Array is an array of jobs: what they were made from. Its members are jobs of
// their own; how they stand is an [ArrayTally]. It never changes.
type Array struct {
	ID        JobID     `json:"id"`
	Version   uint64    `json:"version"`
	Spec      JobSpec   `json:"spec"`      // what all members have in common
	SpecHash  string    `json:"spec_hash"` // of the whole submission: what makes a repeat the same or a conflict
	Count     int       `json:"count"`
	First     int       `json:"first"` // the lowest index
	Last      int       `json:"last"`  // the highest; the array of a retry may lack some between
	Principal string    `json:"principal,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// KindArray is the entity kind of an [Array], ArraySubmitted its only event.
const (
	KindArray      = "array"
	ArraySubmitted = "array.submitted"
	ArraySchema    = 1
)

// Change returns what brings the array into being.
func (a *Array) Change() (Change, error) {
	attrs, err := json.Marshal(a)
	if err != nil {
		return Change{}, fmt.Errorf("encode array: %w", err)
	}
	return Change{Entity: Entity(KindArray, string(a.ID)), State: a, Events: []Event{{ID: NewID(), TS: a.CreatedAt, Type: ArraySubmitted,
		Source: fabricSource, Attrs: attrs, Schema: ArraySchema}}}, nil
}

// Entity implements [Document].
func (a *Array) Entity() (id string, version uint64) {
	return Entity(KindArray, string(a.ID)), a.Version
}

// Apply implements [Document].
func (a *Array) Apply(e Event) error {
	var next Array
	if e.Type != ArraySubmitted || a.Version != 0 {
		return fmt.Errorf("array: event %s does not follow version %d", e.Type, a.Version)
	}
	if err := json.Unmarshal(e.Attrs, &next); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	*a = next
	return nil
}

// hashArray returns what makes two submissions of an array the same.
func hashArray(template *JobSpec, a *ArraySpec) (string, error) {
	b, err := json.Marshal(struct {
		Spec  *JobSpec   `json:"spec"`
		Array *ArraySpec `json:"array"`
	}{template, a})
	if err != nil {
		return "", Errorf(CodeInvalid, "the array is not valid JSON: %v", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// ArrayTally is how the members of an array stand.
type ArrayTally struct {
	States     map[State]int64
	Bad        JobID     // the first member, by index, that ended otherwise than in success; "" if none
	BadState   State     // how it ended
	FinishedAt time.Time // when a member ended last; zero before that
}

// State returns the state of the whole: that of the member that is furthest on
// its way while any is; then failed or canceled when any is, else succeeded.
func (t *ArrayTally) State() State {
	for _, s := range []State{Running, Assigned, Lost, Retrying, Pending, Scheduled, Failed, Canceled} {
		if t.States[s] > 0 {
			return s
		}
	}
	return Succeeded
}

// ArraySummary is what the job that stands for an array says beyond other jobs.
type ArraySummary struct {
	Count  int             `json:"count"`
	First  int             `json:"first"`
	Last   int             `json:"last"`
	States map[State]int64 `json:"states"` // members by state; states without members are absent
}

// Job returns the job that stands for the whole array.
func (a *Array) Job(t *ArrayTally) *Job {
	j := &Job{ID: a.ID, Version: a.Version, State: t.State(), Spec: a.Spec, SpecHash: a.SpecHash, Principal: a.Principal, CreatedAt: a.CreatedAt,
		Array: &ArraySummary{Count: a.Count, First: a.First, Last: a.Last, States: t.States}}
	if t.Bad != "" {
		j.Message = fmt.Sprintf("of %d members %d failed and %d were canceled; the first is %s", a.Count, t.States[Failed], t.States[Canceled], t.Bad)
	}
	if j.State.Terminal() {
		at := t.FinishedAt
		j.FinishedAt = &at
	}
	return j
}

// ParseArray reads the range of an array, "FIRST-LAST" or one index.
func ParseArray(s string) (*ArraySpec, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 63)
	b, err2 := strconv.ParseUint(last, 10, 63)
	if err1 != nil || err2 != nil {
		return nil, Errorf(CodeInvalid, "%.40q is not the range of an array", s).WithHint("write FIRST-LAST, as in 0-99; an index is at least 0")
	}
	spec := &ArraySpec{First: int(a), Last: int(b)}
	return spec, spec.Validate()
}

// ParseDependency reads "JOB" or "JOB:end".
func ParseDependency(s string) (Dependency, error) {
	id, on, _ := strings.Cut(s, ":")
	d := Dependency{Job: JobID(id), On: on}
	if on == OnSuccess {
		d.On = ""
	}
	if on != "" && on != OnSuccess && on != OnEnd {
		return d, Errorf(CodeInvalid, "%.80q: what follows the colon is success or end", s)
	}
	return d, ValidateID("a job that is waited for", id)
}
