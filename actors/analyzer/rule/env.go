package rule

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// env is what an expression sees: the deviation, and what the engine knows about its
// entity at that time.
type env struct {
	Entity     string                    `expr:"entity"` // "<kind>:<id>"
	Kind       string                    `expr:"kind"`
	ID         string                    `expr:"id"`
	Step       string                    `expr:"step"`
	Channel    string                    `expr:"channel"`
	Direction  string                    `expr:"direction"`
	Bits       float64                   `expr:"bits"`
	P          float64                   `expr:"p"`
	N          float64                   `expr:"n"`
	Bounded    bool                      `expr:"bounded"`
	Repeats    int                       `expr:"repeats"`
	Why        string                    `expr:"why"`
	CaseID     string                    `expr:"case_id"` // "" when it is of a window
	Job        string                    `expr:"job"`     // the ID of the fabric's job that it is about, or the first example; "" when that is none
	Cases      []string                  `expr:"cases"`   // examples
	Tags       map[string]string         `expr:"tags"`
	Hour       int                       `expr:"hour"`    // 0 to 23, in the file's zone
	Weekday    string                    `expr:"weekday"` // "monday" …
	Phi        float64                   `expr:"phi"`     // of the whole system, as last recorded; 0: never
	Channels   []string                  `expr:"channels"`
	Open       int                       `expr:"open"` // deviations of the entity that have not ended, with this one
	LastAction lastAction                `expr:"last_action"`
	Count      func(string) (int, error) `expr:"count"` // deviations of the entity within a duration, with this one
}

// lastAction is the last action for the entity, whoever asked for it.
type lastAction struct {
	Command string  `expr:"command"` // "": there was none
	State   string  `expr:"state"`
	Ago     float64 `expr:"ago"` // seconds since it was asked for; 1e9: there was none
}

// Fields returns the names that an expression may use, sorted.
func Fields() []string {
	var all []string
	for f := range reflect.TypeFor[env]().Fields() {
		all = append(all, f.Tag.Get("expr"))
	}
	slices.Sort(all)
	return all
}

// The functions of the library that an expression may use: none of them loops over
// more than what is there, nor makes much out of little.
var functions = []string{"abs", "ceil", "first", "float", "floor", "hasPrefix", "hasSuffix", "int", "last", "len", "lower", "max", "min", "round", "string", "trim", "upper"}

const (
	maxNodes = 500     // of an expression
	budget   = 100_000 // values that one evaluation may make
)

// condition is an expression that is true or false.
type condition struct{ program *vm.Program }

// compileCondition reads an expression. The error says where it is wrong and, when a
// name is unknown, which there are.
func compileCondition(text string) (*condition, error) {
	p, err := compile(text, expr.AsBool())
	return &condition{p}, err
}

func compile(text string, more ...expr.Option) (*vm.Program, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are allowed", len(text), MaxText)
	}
	var v visitor
	options := []expr.Option{expr.Env(env{}), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins(), expr.Patch(&v)}
	for _, f := range functions {
		options = append(options, expr.EnableBuiltin(f))
	}
	p, err := expr.Compile(text, append(options, more...)...)
	switch {
	case v.problem != "":
		return nil, fmt.Errorf("%s", v.problem)
	case err != nil:
		return nil, explain(err)
	}
	return p, nil
}

// explain makes an error of the library one line, and says which names there are.
func explain(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if name, ok := strings.CutPrefix(text, "unknown name "); ok {
		name, place, _ := strings.Cut(name, " ")
		return fmt.Errorf("there is no %s %s%s; there are %s and the functions %s", name, place, closest(name, append(Fields(), functions...)),
			strings.Join(Fields(), ", "), strings.Join(functions, ", "))
	}
	return fmt.Errorf("%s", text)
}

// visitor refuses what would let an expression grow, and durations that are none.
type visitor struct{ problem string }

// Visit implements [ast.Visitor].
func (v *visitor) Visit(n *ast.Node) {
	switch x := (*n).(type) {
	case *ast.VariableDeclaratorNode:
		v.bad("let is not allowed: write the value where it is needed")
	case *ast.BinaryNode:
		if x.Operator == ".." {
			v.bad("a range is not allowed: compare with < and >")
		}
	case *ast.CallNode:
		if f, ok := x.Callee.(*ast.IdentifierNode); ok && f.Value == "count" && len(x.Arguments) == 1 {
			if s, ok := x.Arguments[0].(*ast.StringNode); !ok {
				v.bad(`count takes a duration in quotes, as in count("10m")`)
			} else if d, err := time.ParseDuration(s.Value); err != nil || d <= 0 {
				v.bad(fmt.Sprintf(`count takes a duration as in count("10m"), and not %q`, s.Value))
			}
		}
	}
}

func (v *visitor) bad(problem string) {
	if v.problem == "" {
		v.problem = problem
	}
}

// run evaluates a program. What goes wrong in it is an error, never a panic.
func run(p *vm.Program, e *env) (any, error) {
	v, err := (&vm.VM{MemoryBudget: budget}).Run(p, e)
	if err != nil {
		return nil, explain(err)
	}
	return v, nil
}

func (c *condition) holds(e *env) (bool, error) {
	v, err := run(c.program, e)
	if err != nil {
		return false, err
	}
	return v.(bool), nil
}

// closest returns a hint at the word of a list that was probably meant; "" when none
// is near.
func closest(word string, list []string) string {
	best, least := "", 3
	for _, w := range list {
		if d := distance(word, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is Levenshtein's, of words of at most 64 bytes.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
