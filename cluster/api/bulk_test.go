package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func (r *recorder) Hold(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	r.got = []any{"hold", id, op}
	return r.job(), nil
}

func (r *recorder) Release(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	r.got = []any{"release", id, op}
	return r.job(), nil
}

func (r *recorder) Prioritize(_ context.Context, id entropy.JobID, priority int, op entropy.Operation) (*entropy.Job, error) {
	r.got = []any{id, priority, op}
	return r.job(), nil
}

func (r *recorder) Bulk(_ context.Context, q entropy.BulkRequest) (out entropy.BulkReply, err error) {
	r.call(&out, q)
	return out, nil
}

// proves J-10, J-14 and "bad input, everywhere": what cannot be carried out is a
// 4xx that says why, and makes nothing
func TestBadGroupsAndBulk(t *testing.T) {
	w, _ := memoryWorld(t)
	for name, c := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"array of a billion":  {"/v1/jobs", `{"spec":{"command":["x"]},"array":{"last":999999999}}`, 413, "1000000000 members"},
		"negative array":      {"/v1/jobs", `{"spec":{"command":["x"]},"array":{"first":-1,"last":3}}`, 400, "index"},
		"array backwards":     {"/v1/jobs", `{"spec":{"command":["x"]},"array":{"first":3,"last":1}}`, 400, "ends before it begins"},
		"array out of range":  {"/v1/jobs", `{"spec":{"command":["x"]},"array":{"last":99999999999999999999}}`, 400, "array"},
		"array misspelled":    {"/v1/jobs", `{"spec":{"command":["x"]},"array":{"from":1}}`, 400, "no such field"},
		"forged member":       {"/v1/jobs", `{"spec":{"command":["x"],"array":{"of":"a","index":1}}}`, 400, "set by the fabric"},
		"unknown upstream":    {"/v1/jobs", `{"id":"g1","spec":{"command":["x"],"after":[{"job":"nobody"}]}}`, 404, "nobody"},
		"waits for itself":    {"/v1/jobs", `{"id":"g1","spec":{"command":["x"],"after":[{"job":"g1"}]}}`, 400, "g1 after g1"},
		"cycle":               {"/v1/jobs", `{"jobs":[{"id":"g1","spec":{"command":["x"],"after":[{"job":"g2"}]}},{"id":"g2","spec":{"command":["x"],"after":[{"job":"g1"}]}}]}`, 400, "wait for each other"},
		"no verb":             {"/v1/bulk", `{"filter":{"queue":"q"}}`, 400, "verb"},
		"everything":          {"/v1/bulk", `{"verb":"cancel"}`, 400, "every job"},
		"no such state":       {"/v1/bulk", `{"verb":"cancel","filter":{"states":["done"]}}`, 400, "done"},
		"bad operation":       {"/v1/bulk", `{"verb":"cancel","ids":["a"],"operation":{"operation_id":"a b"}}`, 400, "operation_id"},
		"limit":               {"/v1/bulk", `{"verb":"cancel","filter":{"queue":"q","limit":5000}}`, 413, "1000"},
		"no priority":         {"/v1/jobs/x/prioritize", `{}`, 400, "priority is missing"},
		"priority too high":   {"/v1/jobs/x/prioritize", `{"priority":101}`, 404, "x"},
		"hold of an array of": {"/v1/jobs/nope/hold", ``, 404, "nope"},
	} {
		_, body := w.want(request{method: "POST", path: c.path, token: w.admin, body: c.body}, c.status)
		if !strings.Contains(body, c.says) {
			t.Errorf("%s: %s does not say %q", name, body, c.says)
		}
	}
	for _, id := range []string{"g1", "g2"} {
		w.want(request{method: "GET", path: "/v1/jobs/" + id, token: w.admin}, 404)
	}
	_, body := w.want(request{method: "GET", path: "/v1/jobs", token: w.admin}, 200)
	if !strings.Contains(body, `"jobs":[]`) {
		t.Errorf("something was created: %s", body)
	}
}
