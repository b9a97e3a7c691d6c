package rule

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/expr-lang/expr/vm"
)

// template is text with expressions in braces between: text[0] parts[0] text[1] and so on.
type template struct {
	text  []string
	parts []*vm.Program
}

// parseTemplate reads "job {id} of {tags.tenant}". {{ and }} are braces.
func parseTemplate(s string) (*template, error) {
	t := new(template)
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case (s[i] == '{' || s[i] == '}') && i+1 < len(s) && s[i+1] == s[i]:
			b.WriteByte(s[i])
			i++
		case s[i] == '}':
			return nil, fmt.Errorf("%q has a } without its {; write }} for the brace itself", s)
		case s[i] == '{':
			end := closing(s[i+1:])
			if end < 0 {
				return nil, fmt.Errorf("%q has a { without its }; write {{ for the brace itself", s)
			}
			p, err := compile(s[i+1 : i+1+end])
			if err != nil {
				return nil, fmt.Errorf("{%s}: %w", s[i+1:i+1+end], err)
			}
			t.text, t.parts = append(t.text, b.String()), append(t.parts, p)
			b.Reset()
			i += end + 1
		default:
			b.WriteByte(s[i])
		}
	}
	t.text = append(t.text, b.String())
	return t, nil
}

// closing returns where the expression that s begins with ends, before its brace;
// -1 when it does not. Braces in quotes do not count.
func closing(s string) int {
	var quote byte
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

// value returns what the template is: the expression's own value when it is nothing
// but one, else text.
func (t *template) value(e *env) (any, error) {
	if len(t.parts) == 1 && t.text[0] == "" && t.text[1] == "" {
		return run(t.parts[0], e)
	}
	return t.string(e)
}

// string returns the text, at most MaxText bytes of it.
func (t *template) string(e *env) (string, error) {
	if t == nil {
		return "", nil
	}
	var b strings.Builder
	for i, p := range t.parts {
		b.WriteString(t.text[i])
		v, err := run(p, e)
		if err != nil {
			return "", err
		}
		switch v := v.(type) {
		case string:
			b.WriteString(v)
		case float64:
			fmt.Fprintf(&b, "%.4g", v)
		default:
			fmt.Fprint(&b, v)
		}
	}
	b.WriteString(t.text[len(t.parts)])
	return cut(b.String(), MaxText), nil
}

// cut returns at most n bytes of s, and no half of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// argument is a value of args: a template, a constant, or more of them.
type argument struct {
	template *template
	constant any
	list     []*argument
	object   map[string]*argument
}

func (a *argument) value(e *env) (any, error) {
	switch {
	case a.template != nil:
		v, err := a.template.value(e)
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, fmt.Errorf("%v is no number that JSON knows", f)
		}
		return v, err
	case a.object != nil:
		m := make(map[string]any, len(a.object))
		for k, x := range a.object {
			v, err := x.value(e)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			m[k] = v
		}
		return m, nil
	case a.list != nil:
		l := make([]any, len(a.list))
		for i, x := range a.list {
			v, err := x.value(e)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			l[i] = v
		}
		return l, nil
	}
	return a.constant, nil
}

// render returns args as JSON; nil when there are none.
func (a *argument) render(e *env) (json.RawMessage, error) {
	if a == nil {
		return nil, nil
	}
	v, err := a.value(e)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > maxArgsSize {
		return nil, fmt.Errorf("they have %d bytes, at most %d are allowed", len(b), maxArgsSize)
	}
	return b, nil
}

const maxArgsSize = 64 << 10 // bytes
