package jobfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/entropy-fabric/entropy"
)

// decoder reads YAML nodes into Go values by their JSON names, strictly: each
// error names the line, and every value read is counted.
type decoder struct {
	file  string
	nodes int
	depth int
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) error {
	return entropy.Errorf(entropy.CodeInvalid, "%s:%d: %s", d.file, n.Line, fmt.Sprintf(format, args...))
}

// read reads n into the value that v points to.
func (d *decoder) read(n *yaml.Node, v any, path string) error {
	return d.value(n, reflect.ValueOf(v).Elem(), path)
}

// enter counts a value and returns it with aliases followed.
func (d *decoder) enter(n *yaml.Node) (*yaml.Node, error) {
	d.nodes++
	for n.Kind == yaml.AliasNode && d.nodes <= MaxNodes {
		n = n.Alias
		d.nodes++
	}
	if d.nodes > MaxNodes || d.depth > MaxDepth {
		return n, d.errorf(n, "it holds more than %d values, or more than %d levels: too many for a job file", MaxNodes, MaxDepth)
	}
	return n, nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) error {
	n, err := d.enter(n)
	if err != nil {
		return err
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	d.depth++
	defer func() { d.depth-- }()
	if v.Addr().Type().Implements(unmarshaler) {
		return d.leaf(n, v, path)
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		v.Set(p)
		return d.value(n, p.Elem(), path)
	case reflect.Struct:
		return d.structure(n, v, path)
	case reflect.Map:
		return d.mapping(n, v, path)
	case reflect.Slice:
		return d.list(n, v, path)
	}
	return d.scalar(n, v, path)
}

// once refuses keys that are given twice, or are no text.
func (d *decoder) once(n *yaml.Node) error {
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind != yaml.ScalarNode || k.Tag == "!!merge":
			return d.errorf(k, "a key must be a plain word; write what jobs share under defaults")
		case seen[k.Value]:
			return d.errorf(k, "%s is given twice", k.Value)
		}
		seen[k.Value] = true
	}
	return nil
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode {
		return d.errorf(n, "%s is not a map of keys and values", path)
	}
	if err := d.once(n); err != nil {
		return err
	}
	fields := fieldsOf(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		index, ok := fields[key.Value]
		if !ok {
			return d.unknown(key, fields, path)
		}
		if err := d.value(n.Content[i+1], v.FieldByIndex(index), path+"."+key.Value); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf returns where the fields of a struct are by their JSON names. Those of
// an embedded struct count as its own, unless it has one of the same name.
func fieldsOf(t reflect.Type) map[string][]int {
	fields := make(map[string][]int)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Tag == "":
			for inner, index := range fieldsOf(f.Type) {
				if _, own := fields[inner]; !own {
					fields[inner] = append(append([]int(nil), f.Index...), index...)
				}
			}
		case f.IsExported() && name != "-" && name != "":
			fields[name] = f.Index
		}
	}
	return fields
}

// unknown says that there is no such key, and which one may be meant.
func (d *decoder) unknown(key *yaml.Node, fields map[string][]int, path string) error {
	best, least := "", 3
	for name := range fields {
		if n := distance(key.Value, name); n < least || n == least && name < best {
			best, least = name, n
		}
	}
	err := d.errorf(key, "%s has no key %.80q", path, key.Value)
	if best != "" {
		return entropy.AsError(err).WithHint("did you mean %s?", best)
	}
	return entropy.AsError(err).WithHint("see docs/JOBFILE.md for the keys")
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := row[j+1]
			if a[i] != b[j] {
				before = 1 + min(before, row[j], next)
			}
			row[j+1], before = before, next
		}
	}
	return row[len(b)]
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode {
		return d.errorf(n, "%s is not a map of keys and values", path)
	}
	if err := d.once(n); err != nil {
		return err
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(n.Content[i+1], elem, path+"."+key); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), elem)
	}
	return nil
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.SequenceNode {
		return d.errorf(n, "%s is not a list; write it as [a, b]", path)
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if err := d.value(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// scalar reads a word, a number or a truth value. Where text is wanted any of them
// is taken as it is written.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.ScalarNode {
		return d.errorf(n, "%s is not a single value", path)
	}
	if v.Kind() == reflect.String {
		v.SetString(n.Value)
		return nil
	}
	if err := json.Unmarshal([]byte(n.Value), v.Addr().Interface()); err != nil {
		return d.errorf(n, "%s is %.40q, which is not %s", path, n.Value, words[v.Kind()])
	}
	return nil
}

var words = map[reflect.Kind]string{reflect.Bool: "true or false", reflect.Int: "a whole number", reflect.Int64: "a whole number",
	reflect.Uint32: "a whole number of at least 0", reflect.Uint64: "a whole number of at least 0", reflect.Float64: "a number"}

// leaf reads a value of a type that reads its own JSON.
func (d *decoder) leaf(n *yaml.Node, v reflect.Value, path string) error {
	b, err := d.json(n)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v.Addr().Interface()); err != nil {
		if e, ok := errors.AsType[*entropy.Error](err); ok {
			text := e.Message
			if e.Hint != "" {
				text += "; " + e.Hint
			}
			return d.errorf(n, "%s: %s", path, text)
		}
		return d.errorf(n, "%s: %v", path, err)
	}
	return nil
}

// json returns a node as JSON. Text stays text, numbers stay numbers as they are
// written, and whatever else a scalar is (a time, say) is text.
func (d *decoder) json(n *yaml.Node) ([]byte, error) {
	n, err := d.enter(n)
	if err != nil {
		return nil, err
	}
	d.depth++
	defer func() { d.depth-- }()
	var parts []string
	switch n.Kind {
	case yaml.MappingNode:
		if err := d.once(n); err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := d.json(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			parts = append(parts, quote(n.Content[i].Value)+":"+string(value))
		}
		return []byte("{" + strings.Join(parts, ",") + "}"), nil
	case yaml.SequenceNode:
		for _, item := range n.Content {
			value, err := d.json(item)
			if err != nil {
				return nil, err
			}
			parts = append(parts, string(value))
		}
		return []byte("[" + strings.Join(parts, ",") + "]"), nil
	}
	switch plain := json.Valid([]byte(n.Value)); {
	case n.Tag == "!!null":
		return []byte("null"), nil
	case plain && (n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool"):
		return []byte(n.Value), nil
	}
	return []byte(quote(n.Value)), nil
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has no error
	}
	return string(b)
}
