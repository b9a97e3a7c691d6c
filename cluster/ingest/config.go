package ingest

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// Limits of a [Config].
const (
	MaxRules            = 500
	MaxFields           = 100 // of each part of a rule
	DefaultMaxTagValues = 1000
)

// Config is the rules of a [Normalizer], as a file of rules in YAML has them. The zero value lets in what is in the
// envelope already, and nothing else.
type Config struct {
	Rules []Rule `yaml:"rules"` // the first that matches is used
	// MaxTagValues bounds how many values of one tag are told apart; further ones
	// become "other", so that no source makes a million series. 0 means 1000.
	MaxTagValues int `yaml:"max_tag_values"`
	// HashKey keys the hashes of personal data: without it nobody can try names.
	// It is not part of a file of rules.
	HashKey []byte `yaml:"-"`
}

// Rule says how a shape becomes an event. A path names a field: "after.id", and
// "items.0.sku" in a list. A template is text with paths in braces:
// "order:{after.id}".
type Rule struct {
	Name string `yaml:"name"`
	// Match has a pattern for the value at each path, all of which must match: text
	// with '*' for any run of characters, alternatives apart by '|'; "" matches a
	// field that is absent or null.
	Match   map[string]string `yaml:"match"`
	Discard bool              `yaml:"discard"` // nobody wants it: answered, and not kept

	Type           string `yaml:"event_type"` // template
	Entity         string `yaml:"entity_id"`  // template of "<kind>:<id>"
	TS             string `yaml:"ts"`         // path: RFC 3339, or a number of s, ms, us or ns since 1970
	ID             string `yaml:"id"`         // template; "" derives it from the content
	Correlation    string `yaml:"correlation_id"`
	Causation      string `yaml:"causation_id"`
	IdempotencyKey string `yaml:"idempotency_key"`
	System         string `yaml:"source"` // template; "" means the rule's name

	Tags      map[string]string `yaml:"tags"`      // name: template
	Attrs     map[string]string `yaml:"attrs"`     // name: path; the value as it is
	Keep      bool              `yaml:"keep"`      // the other top-level fields become attrs, too
	Rename    map[string]string `yaml:"rename"`    // of kept attrs: old name: new name
	Durations map[string]Span   `yaml:"durations"` // attr: milliseconds between two times
	Drop      []string          `yaml:"drop"`      // attrs that are left out
	Hash      []string          `yaml:"hash"`      // tags and attrs that become a keyed hash
}

// Span is the time between two fields.
type Span struct {
	From string `yaml:"from"` // path, as of a rule's TS
	To   string `yaml:"to"`
}

func (c Config) validate() error {
	var problems []error
	if len(c.Rules) > MaxRules {
		problems = append(problems, fmt.Errorf("there are %d rules, at most %d are allowed", len(c.Rules), MaxRules))
	}
	if c.MaxTagValues < 0 {
		problems = append(problems, fmt.Errorf("max_tag_values is %d; it must not be negative", c.MaxTagValues))
	}
	names := make(map[string]bool)
	for i := range c.Rules {
		r := &c.Rules[i]
		if names[r.Name] {
			problems = append(problems, fmt.Errorf("there are two rules %q", r.Name))
		}
		names[r.Name] = true
		for _, p := range r.problems() {
			problems = append(problems, fmt.Errorf("rule %d (%s): %s", i+1, r.Name, p))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return entropy.Errorf(entropy.CodeInvalid, "normalizer: %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; ")).
		WithHint("docs/INGEST.md has every field with an example")
}

func (r *Rule) problems() (p []string) {
	bad := func(format string, args ...any) { p = append(p, fmt.Sprintf(format, args...)) }
	if err := entropy.ValidateID("name", r.Name); err != nil {
		bad("%v", err)
	}
	if len(r.Match) == 0 {
		bad("match is empty: it would take everything; name at least one field")
	}
	if len(r.Match)+len(r.Tags)+len(r.Attrs)+len(r.Durations)+len(r.Drop)+len(r.Hash)+len(r.Rename) > MaxFields {
		bad("it has more than %d fields", MaxFields)
	}
	if r.Discard {
		return p
	}
	for name, v := range map[string]string{"event_type": r.Type, "entity_id": r.Entity, "ts": r.TS} {
		if v == "" {
			bad("%s is missing", name)
		}
	}
	for _, t := range append(slices.Collect(maps.Values(r.Tags)), r.Type, r.Entity, r.ID, r.Correlation, r.Causation, r.IdempotencyKey, r.System) {
		if _, err := parseTemplate(t); err != nil {
			bad("%v", err)
		}
	}
	for name, s := range r.Durations {
		if s.From == "" || s.To == "" {
			bad("durations.%s needs from and to", name)
		}
	}
	slices.Sort(p)
	return p
}

// template is text with paths in between: text[0] path[0] text[1] and so on.
type template struct {
	text  []string
	paths []string
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

func parseTemplate(s string) (template, error) {
	var t template
	last := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(s, -1) {
		path := s[m[2]:m[3]]
		if path == "" {
			return t, fmt.Errorf("%q has an empty {}", s)
		}
		t.text = append(t.text, s[last:m[0]])
		t.paths = append(t.paths, path)
		last = m[1]
	}
	t.text = append(t.text, s[last:])
	if strings.ContainsAny(strings.Join(t.text, ""), "{}") {
		return t, fmt.Errorf("%q has a brace without its other half", s)
	}
	return t, nil
}

// fill returns the text with the values of the paths. A path that leads nowhere,
// or to something that is no plain value, is an error.
func (t template) fill(doc map[string]any) (string, error) {
	if len(t.paths) == 0 {
		return t.text[0], nil
	}
	var b strings.Builder
	for i, p := range t.paths {
		v, ok := scalar(lookup(doc, p))
		if !ok {
			return "", fmt.Errorf("the field %s is absent, or no plain value", p)
		}
		b.WriteString(t.text[i])
		b.WriteString(v)
	}
	b.WriteString(t.text[len(t.paths)])
	return b.String(), nil
}

// pattern is alternatives of text with '*'.
type pattern [][]string

func parsePattern(s string) pattern {
	var p pattern
	for alt := range strings.SplitSeq(s, "|") {
		p = append(p, strings.Split(alt, "*"))
	}
	return p
}

func (p pattern) match(s string) bool {
	return slices.ContainsFunc(p, func(parts []string) bool { return glob(parts, s) })
}

func glob(parts []string, s string) bool {
	if len(parts) == 1 {
		return s == parts[0]
	}
	rest, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[last])
}
