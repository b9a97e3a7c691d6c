package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// shapeKind says what a JSON value must look like, as far as the scanner cares:
// only objects and lists have insides; all else is judged by encoding/json.
type shapeKind uint8

const (
	anyShape    shapeKind = iota // unknown insides: checked for repeated keys and depth
	leafShape                    // a value that reads itself: a duration, a time
	structShape                  // an object with known fields
	mapShape                     // an object with any keys
	listShape
)

// shape is what the scanner knows of a Go type: a struct's fields by their exact
// JSON names. It is made once per type and then only read.
type shape struct {
	kind   shapeKind
	typ    reflect.Type
	fields map[string]int // index in subs; at most 64 fields
	subs   []*shape
	elem   *shape // of a map or list
}

var anyValue = &shape{kind: anyShape}

// shapes caches the shape of each request type.
var shapes sync.Map // reflect.Type -> *shape

func shapeOf(t reflect.Type) *shape {
	if sh, ok := shapes.Load(t); ok {
		return sh.(*shape)
	}
	sh, _ := shapes.LoadOrStore(t, makeShape(t))
	return sh.(*shape)
}

var (
	typeDuration = reflect.TypeFor[entropy.Duration]()
	typeTime     = reflect.TypeFor[time.Time]()
	typeReader   = reflect.TypeFor[json.Unmarshaler]()
)

// makeShape does not handle types that contain themselves; no request type does.
func makeShape(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == typeDuration || t == typeTime:
		return &shape{kind: leafShape, typ: t}
	case reflect.PointerTo(t).Implements(typeReader):
		return anyValue
	}
	switch t.Kind() {
	case reflect.Struct:
		return structOf(t)
	case reflect.Map:
		return &shape{kind: mapShape, elem: makeShape(t.Elem())}
	case reflect.Slice, reflect.Array:
		return &shape{kind: listShape, elem: makeShape(t.Elem())}
	}
	return anyValue
}

func structOf(t reflect.Type) *shape {
	sh := &shape{kind: structShape, typ: t, fields: map[string]int{}}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		sh.fields[name] = len(sh.subs)
		sh.subs = append(sh.subs, makeShape(f.Type))
	}
	if len(sh.subs) > 64 {
		panic(fmt.Sprintf("api: %v has more than 64 fields: widen the scanner's set", t))
	}
	return sh
}
