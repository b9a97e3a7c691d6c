package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request body. The deepest of ours is 6; a
// payload may nest further.
const maxDepth = 64

// fault is what is wrong with a body, and where.
type fault struct {
	path   string // as in .jobs[3].spec.queue; built from the inside out
	offset int
	what   string
}

// Error returns one line that names the field and the offset in bytes.
func (f *fault) Error() string {
	field := f.path
	if field == "" {
		field = "the body"
	} else if field[0] == '.' {
		field = field[1:]
	}
	return fmt.Sprintf("%s: %s (offset %d)", field, f.what, f.offset)
}

// scanner walks a JSON text once beside the shape of the type it is meant for.
// It finds what encoding/json lets pass: unknown and repeated keys, keys that
// differ in case only, broken UTF-8, data after the end, excessive depth.
type scanner struct {
	b      []byte
	i      int
	leaves bool // decode the leaves, to name the one that encoding/json refused
}

// scan checks the whole text.
func scan(b []byte, sh *shape, leaves bool) error {
	if !utf8.Valid(b) {
		return &fault{offset: invalidUTF8(b), what: "it is not valid UTF-8"}
	}
	s := &scanner{b: b, leaves: leaves}
	if f := s.value(sh, 0); f != nil {
		return f
	}
	if s.space(); s.i < len(b) {
		return s.fault("there is data after the end of the JSON value")
	}
	return nil
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

func (s *scanner) fault(what string) *fault { return &fault{offset: s.i, what: what} }

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// peek returns the next byte that is no space, or 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) value(sh *shape, depth int) *fault {
	if depth > maxDepth {
		return s.fault("it is nested too deeply")
	}
	c := s.peek()
	start := s.i
	switch {
	case c == '{':
		return s.object(sh, depth)
	case c == '[':
		return s.list(sh, depth)
	case c == '"':
		if f := s.text(); f != nil {
			return f
		}
	case c == '-' || '0' <= c && c <= '9':
		for s.i < len(s.b) && numeric(s.b[s.i]) {
			s.i++
		}
	case c == 0 && s.i == len(s.b):
		return s.fault("the JSON ends too early")
	default:
		if f := s.word(); f != nil {
			return f
		}
	}
	if s.leaves && sh.kind == leafShape {
		return s.leaf(sh, start)
	}
	return nil
}

func numeric(c byte) bool {
	return '0' <= c && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}

// word reads true, false or null.
func (s *scanner) word() *fault {
	for _, w := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(w)) {
			s.i += len(w)
			return nil
		}
	}
	return s.fault("this is not JSON")
}

// leaf decodes a value that reads itself.
func (s *scanner) leaf(sh *shape, start int) *fault {
	if err := json.Unmarshal(s.b[start:s.i], reflect.New(sh.typ).Interface()); err != nil {
		return &fault{offset: start, what: err.Error()}
	}
	return nil
}

// text reads a string and checks its escapes: a lone surrogate would be replaced
// silently.
func (s *scanner) text() *fault {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			if f := s.escape(); f != nil {
				return f
			}
		case c < 0x20:
			return s.fault("a string holds a raw control character")
		}
	}
	return s.fault("a string does not end")
}

// escape reads the escape at s.i and leaves s.i at its last byte.
func (s *scanner) escape() *fault {
	r, ok := s.unicodeEscape(s.i)
	if !ok {
		s.i++ // encoding/json judges the short escapes
		return nil
	}
	switch {
	case 0xdc00 <= r && r < 0xe000:
		return s.fault("a string holds half a surrogate pair")
	case 0xd800 <= r && r < 0xdc00:
		if low, ok := s.unicodeEscape(s.i + 6); !ok || low < 0xdc00 || low >= 0xe000 {
			return s.fault("a string holds half a surrogate pair")
		}
		s.i += 6
	}
	s.i += 5
	return nil
}

// unicodeEscape reads \uXXXX at i.
func (s *scanner) unicodeEscape(i int) (uint64, bool) {
	if i+6 > len(s.b) || s.b[i] != '\\' || s.b[i+1] != 'u' {
		return 0, false
	}
	r, err := strconv.ParseUint(string(s.b[i+2:i+6]), 16, 16)
	return r, err == nil
}

func (s *scanner) list(sh *shape, depth int) *fault {
	elem := anyValue
	if sh.kind == listShape {
		elem = sh.elem
	}
	s.i++
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for n := 0; ; n++ {
		if f := s.value(elem, depth+1); f != nil {
			f.path = "[" + strconv.Itoa(n) + "]" + f.path
			return f
		}
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.fault("a list lacks ',' or ']'")
		}
	}
}

func (s *scanner) object(sh *shape, depth int) *fault {
	seen := keys{fields: sh.fields, strict: sh.kind == structShape}
	s.i++
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		s.space()
		at := s.i
		name, f := s.key()
		if f != nil {
			return f
		}
		sub, why := seen.add(name, sh)
		if why == "" && s.peek() != ':' {
			why = "a key lacks ':'"
		}
		if why != "" {
			return &fault{path: "." + string(name), offset: at, what: why}
		}
		s.i++
		if f := s.value(sub, depth+1); f != nil {
			f.path = "." + string(name) + f.path
			return f
		}
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return s.fault("an object lacks ',' or '}'")
		}
	}
}

// key reads a key and returns it without escapes.
func (s *scanner) key() ([]byte, *fault) {
	if s.peek() != '"' {
		return nil, s.fault("an object lacks a key")
	}
	start := s.i
	if f := s.text(); f != nil {
		return nil, f
	}
	raw := s.b[start+1 : s.i-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	var plain string
	if err := json.Unmarshal(s.b[start:s.i], &plain); err != nil {
		return nil, &fault{offset: start, what: "a key is not a JSON string"}
	}
	return []byte(plain), nil
}

// keys is the set of the keys of one object that were seen.
type keys struct {
	fields map[string]int
	strict bool
	known  uint64 // of a struct: which fields
	few    [8][]byte
	n      int
	many   map[string]struct{} // of other objects, past the first few
}

// add notes a key and returns the shape of its value, or what is wrong with it.
func (k *keys) add(name []byte, sh *shape) (sub *shape, why string) {
	if k.strict {
		i, ok := k.fields[string(name)]
		if !ok {
			return nil, "there is no such field"
		}
		if k.known&(1<<i) != 0 {
			return nil, "it is given twice"
		}
		k.known |= 1 << i
		return sh.subs[i], ""
	}
	sub = anyValue
	if sh.kind == mapShape {
		sub = sh.elem
	}
	for _, old := range k.few[:min(k.n, len(k.few))] {
		if bytes.Equal(old, name) {
			return nil, "it is given twice"
		}
	}
	if k.n < len(k.few) {
		k.few[k.n] = name
		k.n++
		return sub, ""
	}
	if k.many == nil {
		k.many = make(map[string]struct{})
	}
	if _, again := k.many[string(name)]; again {
		return nil, "it is given twice"
	}
	k.many[string(name)] = struct{}{}
	return sub, ""
}
