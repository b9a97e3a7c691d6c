package entropy

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// This file encodes the structs that are journaled, as encoding/json does, byte
// for byte. Every job passes here six times in its life, most of the fields are
// empty each time, and encoding/json spends its time finding that out. Here the
// fields of a type are looked up once. What is rare is left to encoding/json.

var (
	encodeAttrs  = encoder[JobAttrs]()
	encodeSpec   = encoder[JobSpec]()
	encodeRecord = encoder[jobRecord]()
)

// writer appends the JSON of the value at p.
type writer func(b []byte, p unsafe.Pointer) ([]byte, error)

// field is a field of a struct as it is written.
type field struct {
	name   string // with its quotes and colon
	offset uintptr
	omit   func(p unsafe.Pointer) bool // reports that it is left out; nil: never
	write  writer
}

// encoder returns a function that encodes values of T as encoding/json does.
func encoder[T any]() func(v *T) ([]byte, error) {
	write := writerOf(reflect.TypeFor[T]())
	return func(v *T) ([]byte, error) { return write(make([]byte, 0, 256), unsafe.Pointer(v)) }
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[Duration]()
	marshalers   = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}
)

func writerOf(t reflect.Type) writer {
	switch t {
	case timeType:
		return writeTime
	case durationType:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return append(append(append(b, '"'), (*(*Duration)(p)).String()...), '"'), nil
		}
	}
	for _, m := range marshalers {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return foreign(t)
		}
	}
	switch t.Kind() {
	case reflect.String:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendString(b, *(*string)(p)), nil }
	case reflect.Int:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(b, int64(*(*int)(p)), 10), nil
		}
	case reflect.Int64:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendInt(b, *(*int64)(p), 10), nil }
	case reflect.Uint64:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendUint(b, *(*uint64)(p), 10), nil }
	case reflect.Bool:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendBool(b, *(*bool)(p)), nil }
	case reflect.Pointer:
		return pointerWriter(writerOf(t.Elem()))
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			return sliceWriter(writerOf(t.Elem()), t.Elem().Size())
		}
	case reflect.Struct:
		return structWriter(t)
	}
	return foreign(t)
}

// foreign leaves a type to encoding/json.
func foreign(t reflect.Type) writer {
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		text, err := json.Marshal(reflect.NewAt(t, p).Interface())
		return append(b, text...), err
	}
}

func writeTime(b []byte, p unsafe.Pointer) ([]byte, error) {
	b, err := (*time.Time)(p).AppendText(append(b, '"'))
	return append(b, '"'), err
}

func pointerWriter(write writer) writer {
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		if p = *(*unsafe.Pointer)(p); p == nil {
			return append(b, "null"...), nil
		}
		return write(b, p)
	}
}

func sliceWriter(write writer, size uintptr) writer {
	return func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		s := *(*[]byte)(p) // only its start and length count
		if s == nil {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		for i := range len(s) {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = write(b, unsafe.Add(unsafe.Pointer(unsafe.SliceData(s)), uintptr(i)*size)); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

// structWriter writes the fields of a struct. One that encoding/json treats in a
// way that is not known here is left to it as a whole.
func structWriter(t reflect.Type) writer {
	fields := make([]field, 0, t.NumField())
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous || !f.IsExported() || name == "" || !known(f.Type, options) {
			return foreign(t)
		}
		fields = append(fields, field{name: `"` + name + `":`, offset: f.Offset, omit: omitter(f.Type, options), write: writerOf(f.Type)})
	}
	return func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		b = append(b, '{')
		start := len(b)
		for i := range fields {
			f := &fields[i]
			at := unsafe.Add(p, f.offset)
			if f.omit != nil && f.omit(at) {
				continue
			}
			if len(b) > start {
				b = append(b, ',')
			}
			if b, err = f.write(append(b, f.name...), at); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

// known reports whether the options of a field's tag are understood here.
func known(t reflect.Type, options string) bool {
	switch options {
	case "", "omitempty":
		return true
	case "omitzero":
		_, own := reflect.PointerTo(t).MethodByName("IsZero")
		return !own
	}
	return false
}

// omitter returns what omits a field by the options of its tag, nil if nothing does.
func omitter(t reflect.Type, options string) func(p unsafe.Pointer) bool {
	switch {
	case options == "":
		return nil
	case t == durationType:
		return func(p unsafe.Pointer) bool { return *(*Duration)(p) == 0 }
	case options == "omitzero":
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
	}
	switch t.Kind() { // omitempty
	case reflect.String:
		return func(p unsafe.Pointer) bool { return *(*string)(p) == "" }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return len(*(*[]byte)(p)) == 0 }
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return func(p unsafe.Pointer) bool { return *(*uint64)(p) == 0 }
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Map:
		return func(p unsafe.Pointer) bool {
			return *(*unsafe.Pointer)(p) == nil || reflect.NewAt(t, p).Elem().Len() == 0
		}
	case reflect.Struct:
		return nil // encoding/json never takes one for empty
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}

// appendString appends s as a JSON string. What is not plain is left to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string has no error
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
