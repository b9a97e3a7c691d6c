package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// query reads the parameters of a URL. It collects everything that is wrong and
// tells it at the end, unknown and repeated parameters included.
type query struct {
	values url.Values
	used   []string
	wrong  []string
}

func newQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.bad("the query is not valid: %v", err)
	}
	return q
}

func (q *query) bad(format string, args ...any) {
	q.wrong = append(q.wrong, fmt.Sprintf(format, args...))
}

// all returns every value of a parameter that may be repeated.
func (q *query) all(key string) []string {
	q.used = append(q.used, key)
	return q.values[key]
}

// text returns the value of a parameter, or "".
func (q *query) text(key string) string {
	v := q.all(key)
	switch {
	case len(v) > 1:
		q.bad("%s is given twice", key)
		return ""
	case len(v) == 0:
		return ""
	case len(v[0]) > 4096:
		q.bad("%s is longer than 4096 bytes", key)
		return ""
	}
	return v[0]
}

// number returns a whole number from low to high, or 0 when there is none.
func (q *query) number(key string, low, high int64) int64 {
	s := q.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high {
		q.bad("%s is %.40q and not a whole number from %d to %d", key, s, low, high)
		return 0
	}
	return n
}

// wait returns a duration from 0 to MaxWait, written "30s" or as seconds. A
// longer one is cut: the caller asks again.
func (q *query) wait(key string) time.Duration {
	s := q.text(key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if seconds, serr := strconv.ParseUint(s, 10, 31); serr == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 {
		q.bad(`%s is %.40q and not a duration as in "30s"`, key, s)
		return 0
	}
	return min(d, entropy.MaxWait)
}

// flag returns whether a parameter is set to yes.
func (q *query) flag(key string) bool {
	switch s := q.text(key); s {
	case "1", "true":
		return true
	case "", "0", "false":
		return false
	default:
		q.bad("%s is %.40q and not true or false", key, s)
		return false
	}
}

// err returns what is wrong with the query, or nil.
func (q *query) err() error {
	for key := range q.values {
		if !slices.Contains(q.used, key) {
			q.bad("there is no parameter %.40q", key)
		}
	}
	if len(q.wrong) == 0 {
		return nil
	}
	slices.Sort(q.wrong)
	return entropy.Errorf(entropy.CodeInvalid, "%s", strings.Join(q.wrong[:min(len(q.wrong), 8)], "; ")).
		WithHint("see GET /v1/openapi.yaml for the parameters of this route")
}

// noQuery refuses any parameter.
func noQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return newQuery(r).err()
}
