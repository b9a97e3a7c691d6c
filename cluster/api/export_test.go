package api

import (
	"reflect"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Route is a row of the route table, for tests.
type Route struct {
	Method, Pattern string
	Public          bool
	Metrics         bool
	Admits          func(entropy.Role) bool
}

// Routes returns the route table.
func (s *Server) Routes() []Route {
	var out []Route
	for _, rt := range s.table {
		out = append(out, Route{rt.method, rt.pattern, rt.access == public, rt.access == metrics, rt.access.admits})
	}
	return out
}

// DecodeJSON is decodeJSON.
func DecodeJSON(b []byte, v any) error { return decodeJSON(b, v) }

// Scan checks b against the type of v.
func Scan(b []byte, v any) error { return scan(b, shapeOf(reflect.TypeOf(v).Elem()), false) }

// Take spends one token of a bucket with this burst and refill.
func Take(burst int, refill time.Duration, now func() time.Time) func(address string) bool {
	return newBucket(burst, refill, now).take
}

// OpenAPIDocument is the embedded document.
func OpenAPIDocument() []byte { return openAPI }
