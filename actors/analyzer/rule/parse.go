package rule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/entropy-fabric/entropy"
)

// Parse reads a file of rules. The error names every line that is wrong, up to 20,
// and says what was expected there. CodeInvalid; CodeTooLarge.
func Parse(text []byte) (*Set, error) {
	if len(text) > MaxFile {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "the file of rules has %d bytes, at most %d are allowed", len(text), MaxFile)
	}
	if !utf8.Valid(text) {
		return nil, entropy.Errorf(entropy.CodeInvalid, "the file of rules is not UTF-8")
	}
	digest := sha256.Sum256(text)
	s := &Set{Zone: time.UTC, Storm: Storm{Limit{DefaultStorm, DefaultStormPer}, DefaultQuiet}, Effect: DefaultEffect,
		EntityCooldown: DefaultEntity, Judge: DefaultJudge, MaxAge: DefaultMaxAge, Digest: hex.EncodeToString(digest[:])}
	r := new(reader)
	root, err := document(text)
	if err != nil {
		r.problems = append(r.problems, err.Error())
	} else if root != nil {
		r.set(root, s)
	}
	if len(r.problems) == 0 {
		return s, nil
	}
	if n := len(r.problems) - maxReport; n > 0 {
		r.problems = append(r.problems[:maxReport], fmt.Sprintf("and %d more", n))
	}
	return nil, entropy.Errorf(entropy.CodeInvalid, "rules: %s", strings.Join(r.problems, "\n  ")).
		WithHint("docs/RULES.md has every setting with an example; entropy rules check FILE tries a file without a control plane")
}

// document returns the one document of a text; nil when that is empty.
func document(text []byte) (*yaml.Node, error) {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is a second document: put all rules into one list")
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// reader collects what is wrong with a file.
type reader struct {
	problems []string
	values   int // of the args of the rule that is read
}

func (r *reader) bad(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf("line %d: ", n.Line)+fmt.Sprintf(format, args...))
}

// fields calls the function of each key of a mapping, and refuses other keys and
// those that come twice. It returns which were there.
func (r *reader) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node)) map[string]bool {
	seen := make(map[string]bool)
	if n.Kind != yaml.MappingNode {
		r.bad(n, "%s is %s; it takes keys with values, as in name: value", what, kindOf(n))
		return seen
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		f := known[k.Value]
		switch {
		case f == nil:
			r.bad(k, "%s has no setting %.60q%s; it has %s", what, k.Value, closest(k.Value, keys(known)), strings.Join(keys(known), ", "))
		case seen[k.Value]:
			r.bad(k, "%s has %s twice", what, k.Value)
		default:
			seen[k.Value] = true
			f(v)
		}
	}
	return seen
}

func keys(m map[string]func(*yaml.Node)) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.Tag == "!!null" {
		return "empty"
	}
	return fmt.Sprintf("%.60q", n.Value)
}

// text reads text of at most MaxText bytes.
func (r *reader) text(what string, to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
			r.bad(n, "%s is %s; it takes text", what, kindOf(n))
		case len(n.Value) > MaxText:
			r.bad(n, "%s has %d bytes, at most %d are allowed", what, len(n.Value), MaxText)
		default:
			*to = n.Value
		}
	}
}

func (r *reader) flag(what string, to *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(to) != nil {
			r.bad(n, "%s is %s; it is true or false", what, kindOf(n))
		}
	}
}

func (r *reader) duration(what string, to *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || d < 0 || d > entropy.MaxTTL {
			r.bad(n, "%s is %s; it takes a duration as in 90s, 10m or 1h, up to %d hours", what, kindOf(n), int(entropy.MaxTTL.Hours()))
			return
		}
		*to = d
	}
}

// limit reads "5 per 1h".
func (r *reader) limit(what string, to *Limit) func(*yaml.Node) {
	return func(n *yaml.Node) {
		count, per, ok := strings.Cut(n.Value, " per ")
		x, err1 := strconv.Atoi(strings.TrimSpace(count))
		d, err2 := time.ParseDuration(strings.TrimSpace(per))
		if n.Kind != yaml.ScalarNode || !ok || err1 != nil || err2 != nil || x < 1 || x > maxFired || d <= 0 || d > entropy.MaxTTL {
			r.bad(n, "%s is %s; it takes a number up to %d and a duration, as in 5 per 1h", what, kindOf(n), maxFired)
			return
		}
		*to = Limit{x, d}
	}
}

func (r *reader) set(n *yaml.Node, s *Set) {
	r.fields(n, "the file", map[string]func(*yaml.Node){
		"zone": func(n *yaml.Node) {
			zone, err := time.LoadLocation(n.Value)
			if n.Kind != yaml.ScalarNode || err != nil || n.Value == "Local" {
				r.bad(n, "zone is %s; it takes a name as in Europe/Berlin", kindOf(n))
				return
			}
			s.Zone = zone
		},
		"storm": func(n *yaml.Node) {
			r.fields(n, "storm", map[string]func(*yaml.Node){
				"limit": r.limit("storm.limit", &s.Storm.Limit), "quiet": r.duration("storm.quiet", &s.Storm.Quiet)})
		},
		"effect":          r.duration("effect", &s.Effect),
		"entity_cooldown": r.duration("entity_cooldown", &s.EntityCooldown),
		"judge":           r.duration("judge", &s.Judge),
		"max_age":         r.duration("max_age", &s.MaxAge),
		"rules":           func(n *yaml.Node) { r.rules(n, s) },
	})
	if s.Judge < time.Minute {
		r.bad(n, "judge is %v; it takes a minute at least", s.Judge)
	}
}

func (r *reader) rules(n *yaml.Node, s *Set) {
	if n.Kind != yaml.SequenceNode {
		r.bad(n, "rules is %s; it takes a list, each with - name:", kindOf(n))
		return
	}
	if len(n.Content) > MaxRules {
		r.bad(n, "there are %d rules, at most %d are allowed", len(n.Content), MaxRules)
		return
	}
	for _, c := range n.Content {
		x := r.rule(c)
		if x.Name != "" && s.rule(x.Name) != nil {
			r.bad(c, "there are two rules %s: give one of them another name", x.Name)
		}
		s.Rules = append(s.Rules, x)
	}
}

var modes = []string{string(entropy.RuleObserve), string(entropy.RuleSuggest), string(entropy.RuleAsk), string(entropy.RuleAct)}

func (r *reader) rule(n *yaml.Node) *Rule {
	x := &Rule{Mode: entropy.RuleSuggest, Cooldown: DefaultCooldown, Matches: 1}
	at := "the rule"
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" {
			at = fmt.Sprintf("rule %.64s", n.Content[i+1].Value)
		}
	}
	seen := r.fields(n, at, map[string]func(*yaml.Node){
		"name": r.text("name", &x.Name),
		"when": func(n *yaml.Node) {
			r.text("when", &x.When)(n)
			if x.When == "" && n.Kind == yaml.ScalarNode && len(n.Value) > MaxText {
				return // said
			}
			c, err := compileCondition(x.When)
			if err != nil {
				r.bad(n, "when: %v", err)
			}
			x.when = c
		},
		"mode": func(n *yaml.Node) {
			if n.Kind != yaml.ScalarNode || !slices.Contains(modes, n.Value) {
				r.bad(n, "mode is %s; it is %s", kindOf(n), strings.Join(modes, ", "))
			}
			x.Mode = entropy.RuleMode(n.Value)
		},
		"cooldown":   r.duration("cooldown", &x.Cooldown),
		"at_most":    r.limit("at_most", &x.AtMost),
		"for":        func(n *yaml.Node) { r.through(n, x) },
		"reversible": r.flag("reversible", &x.Reversible),
		"do":         func(n *yaml.Node) { r.do(n, x) },
	})
	if err := entropy.ValidateID("name", x.Name); err != nil {
		r.bad(n, "%s: a name has letters, digits, '_', '-' and '.': %v", at, err)
	}
	if x.When == "" && !seen["when"] {
		r.bad(n, `%s has no when; it takes an expression, as in kind == "supplier" && channel == "missing"`, at)
	}
	if !seen["do"] && x.Mode != entropy.RuleObserve {
		r.bad(n, "%s has no do, and the mode %s; say which command, or let it observe", at, x.Mode)
	}
	if x.Mode == entropy.RuleAct && !seen["reversible"] {
		r.bad(n, "%s acts by itself, and does not say reversible: true or false", at)
	}
	return x
}

// through reads "for": so many deviations, or so long.
func (r *reader) through(n *yaml.Node, x *Rule) {
	if k, err := strconv.Atoi(n.Value); n.Kind == yaml.ScalarNode && err == nil && k >= 1 && k <= 1000 {
		x.Matches = k
		return
	}
	if d, err := time.ParseDuration(n.Value); n.Kind == yaml.ScalarNode && err == nil && d > 0 && d <= 24*time.Hour {
		x.Hold = d
		return
	}
	r.bad(n, "for is %s; it takes how many deviations, from 1 to 1000, or how long one must last, as in 10m, up to 24h", kindOf(n))
}

func (r *reader) do(n *yaml.Node, x *Rule) {
	d := &x.Do
	seen := r.fields(n, "do", map[string]func(*yaml.Node){
		"command": func(n *yaml.Node) {
			r.text("command", &d.Command)(n)
			if err := entropy.ValidateCommand(d.Command); err != nil {
				r.bad(n, "%v", err)
			}
		},
		"priority": func(n *yaml.Node) {
			r.text("priority", &d.Priority)(n)
			if p, err := strconv.Atoi(d.Priority); !slices.Contains([]string{"low", "normal", "high"}, d.Priority) && (err != nil || p < entropy.MinPriority || p > entropy.MaxPriority) {
				r.bad(n, "priority is %s; it is low, normal, high or a number from %d to %d", kindOf(n), entropy.MinPriority, entropy.MaxPriority)
			}
		},
		"ttl":     r.seconds("ttl", &d.TTL),
		"timeout": r.seconds("timeout", &d.Timeout),
		"dry_run": r.flag("dry_run", &d.DryRun),
		"entity":  r.template("entity", &d.entity),
		"reason":  r.template("reason", &d.reason),
		"benefit": r.template("benefit", &d.benefit),
		"args": func(n *yaml.Node) {
			if n.Kind != yaml.MappingNode {
				r.bad(n, "args is %s; it takes names with values", kindOf(n))
				return
			}
			r.values = 0
			d.args = r.argument(n, 0)
		},
	})
	if !seen["command"] {
		r.bad(n, "do has no command, as in command: restart_job")
	}
}

// seconds reads a duration of whole seconds.
func (r *reader) seconds(what string, to *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		before := len(r.problems)
		r.duration(what, to)(n)
		if len(r.problems) == before && (*to < time.Second || *to%time.Second != 0) {
			r.bad(n, "%s is %v; it takes whole seconds", what, *to)
		}
	}
}

func (r *reader) template(what string, to **template) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var s string
		r.text(what, &s)(n)
		t, err := parseTemplate(s)
		if err != nil {
			r.bad(n, "%s: %v", what, err)
		}
		*to = t
	}
}

func (r *reader) argument(n *yaml.Node, depth int) *argument {
	r.values++
	switch {
	case r.values > MaxArgs || depth > maxDepth:
		if r.values <= MaxArgs+1 {
			r.bad(n, "args have more than %d values, or are more than %d levels deep", MaxArgs, maxDepth)
			r.values = MaxArgs + 1 // said once
		}
	case n.Kind == yaml.MappingNode:
		a := &argument{object: make(map[string]*argument)}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || a.object[k.Value] != nil {
				r.bad(k, "args: the name %s is no text, or there twice", kindOf(k))
			}
			a.object[k.Value] = r.argument(n.Content[i+1], depth+1)
		}
		return a
	case n.Kind == yaml.SequenceNode:
		a := &argument{list: []*argument{}}
		for _, c := range n.Content {
			a.list = append(a.list, r.argument(c, depth+1))
		}
		return a
	case n.Kind != yaml.ScalarNode:
		r.bad(n, "args: %s is not taken: write the value itself", kindOf(n))
	case n.Tag == "!!str":
		a := new(argument)
		r.template("args", &a.template)(n)
		return a
	default:
		a := new(argument)
		if err := n.Decode(&a.constant); err != nil {
			r.bad(n, "args: %v", err)
		} else if _, isTime := a.constant.(time.Time); isTime {
			a.constant = n.Value
		}
		return a
	}
	return new(argument)
}
