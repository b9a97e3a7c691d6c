package entropy

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// proves P-2 (one form of what is journaled): the journal's encoder writes what
// encoding/json writes, byte for byte, whatever is in whatever field.
func TestEncodesAsEncodingJSON(t *testing.T) {
	for seed := range uint64(400) {
		r := &filler{rand.New(rand.NewPCG(seed, 7)), float64(seed%5) / 4}
		sameAsJSON(t, r, encodeAttrs)
		sameAsJSON(t, r, encodeSpec)
		sameAsJSON(t, r, encodeRecord)
	}
}

// Each field alone, so that none hides behind another; a field added later is
// among them.
func TestEncodesEachFieldAlone(t *testing.T) {
	r := &filler{rand.New(rand.NewPCG(1, 2)), 1}
	alone(t, r, encodeAttrs)
	alone(t, r, encodeSpec)
	alone(t, r, encodeRecord)
}

// TestEncodeRefuses: what encoding/json refuses is refused.
func TestEncodeRefuses(t *testing.T) {
	for _, s := range []JobSpec{{Payload: json.RawMessage(`{"a":`)}, {NotBefore: &[]time.Time{time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}[0]}} {
		if _, err := json.Marshal(&s); err == nil {
			t.Fatal("encoding/json takes it")
		}
		if b, err := encodeSpec(&s); err == nil {
			t.Errorf("got %s", b)
		}
	}
}

func sameAsJSON[T any](t *testing.T, r *filler, encode func(*T) ([]byte, error)) {
	t.Helper()
	v := new(T)
	r.fill(reflect.ValueOf(v).Elem())
	compareJSON(t, v, encode)
}

func alone[T any](t *testing.T, r *filler, encode func(*T) ([]byte, error)) {
	t.Helper()
	for i := range reflect.TypeFor[T]().NumField() {
		for range 20 {
			v := new(T)
			r.fill(reflect.ValueOf(v).Elem().Field(i))
			compareJSON(t, v, encode)
		}
	}
}

func compareJSON[T any](t *testing.T, v *T, encode func(*T) ([]byte, error)) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := encode(v)
	if err != nil || string(got) != string(want) {
		t.Fatalf("%T: %v\ngot  %s\nwant %s", v, err, got, want)
	}
}

// filler sets fields to random values: often to those that are left out.
type filler struct {
	*rand.Rand
	often float64 // how often a field gets a value
}

func (r *filler) fill(v reflect.Value) {
	if r.Float64() >= r.often {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMilli(r.Int64N(4e12)).In(time.FixedZone("", r.IntN(3)*5400))))
		return
	case json.RawMessage:
		v.SetBytes([]byte([]string{``, `null`, `{ "x" : "<b>" }`, `[1, 2]`}[r.IntN(4)]))
		if v.Len() == 0 {
			v.SetZero()
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"", "plain", "with \"quotes\"", "<&>\u2028", "\xff\xfe bad", "ä\x00\n\\", "~ \x7f"}[r.IntN(7)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		v.SetInt(r.Int64() >> (1 + r.IntN(62)) * []int64{1, -1}[r.IntN(2)])
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		v.SetUint(r.Uint64() >> r.IntN(64))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(r.NormFloat64())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 4))
		for i := range v.Len() {
			r.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			r.fill(key)
			r.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			r.fill(field)
		}
	default:
		panic("filler: no value for a " + v.Type().String())
	}
}

func BenchmarkEncodeAttrs(b *testing.B) {
	a := JobAttrs{AssignmentID: "0198a5f0-0000-7000-8000-000000000000", WorkerID: "bench"}
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encodeAttrs(&a); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&a); err != nil {
				b.Fatal(err)
			}
		}
	})
}
