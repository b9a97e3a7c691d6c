// Package controlm executes controlm_run, controlm_hold, controlm_free and
// controlm_rerun over the Automation API of Control-M, in the folders that the
// settings allow.
//
// Paths, bodies and answers are those of the published documentation of its run
// service: POST /run/order, POST /run/job/{jobId}/hold, free and rerun, and
// GET /run/job/{jobId}/status, with the header x-api-key.
//
// The API has no idempotency keys. Hold, free and rerun look at the job first and
// do nothing when it is as it should be. An order whose answer was lost cannot be
// told from one that was not heard, so it fails for good as outcome_unknown rather
// than run twice; the ordered jobs carry the action's ID as a variable.
package controlm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// Config says where Control-M is and what may be touched.
type Config struct {
	Endpoint string           `json:"endpoint"` // as in https://controlm:8443/automation-api
	Token    builtin.Secret   `json:"token"`    // of the header x-api-key
	Folders  []string         `json:"folders"`  // "server/folder", each part may have * and ?; none means none
	Timeout  entropy.Duration `json:"timeout"`  // of one request; 0 means 60 s
	MaxWait  entropy.Duration `json:"max_wait"` // longest Retry-After that is waited for here; 0 means 30 s
}

const (
	maxAnswer = 256 << 10
	variable  = "ENTROPY_ACTION_ID"
)

type api struct {
	Config
	client *http.Client
}

// Register gives the commands to an executor.
func Register(to executor.Registry, conf Config) error {
	if conf.Timeout == 0 {
		conf.Timeout = entropy.Duration(time.Minute)
	}
	if conf.MaxWait == 0 {
		conf.MaxWait = entropy.Duration(30 * time.Second)
	}
	var errs []error
	if u, err := url.Parse(conf.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		errs = append(errs, errors.New("controlm: the endpoint is a URL, as in https://controlm:8443/automation-api"))
	}
	if err := conf.Token.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("controlm: token: %w", err))
	}
	for _, f := range conf.Folders {
		if _, err := path.Match(f, ""); err != nil || strings.Count(f, "/") != 1 {
			errs = append(errs, fmt.Errorf("controlm: the folder %q is not server/folder", f))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	a := &api{Config: conf, client: builtin.NewClient(true)} // the endpoint is a setting, so it may be private
	to.Handle("controlm_run", a.run, executor.DryRun())
	for verb, done := range map[string]func(*status, int) bool{
		"hold":  func(s *status, _ int) bool { return bool(s.Held) },
		"free":  func(s *status, _ int) bool { return !bool(s.Held) },
		"rerun": func(s *status, runs int) bool { return runs > 0 && s.Runs > runs || s.active() },
	} {
		to.Handle("controlm_"+verb, a.job(verb, done), executor.DryRun())
	}
	return nil
}

// flag is a boolean that older versions write as text.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = flag(strings.Trim(string(b), `"`) == "true")
	return nil
}

// status is the part of a job's status that is looked at.
type status struct {
	JobID  string `json:"jobId"`
	Name   string `json:"name"`
	Folder string `json:"folder"`
	Server string `json:"ctm"`
	Status string `json:"status"`
	Held   flag   `json:"held"`
	Runs   int    `json:"numberOfRuns"`
}

// active reports whether the job runs or is going to.
func (s *status) active() bool {
	return s.Status == "Executing" || strings.HasPrefix(s.Status, "Wait")
}

func (a *api) allowed(server, folder string) error {
	for _, f := range a.Folders {
		if ok, _ := path.Match(f, server+"/"+folder); ok {
			return nil
		}
	}
	return builtin.NotAllowedf("the folder %s/%s is not among those that may be touched", server, folder)
}

// run orders a folder, or jobs of it.
func (a *api) run(ctx context.Context, t *executor.Task) (any, error) {
	var args struct {
		Server string            `json:"ctm"`
		Folder string            `json:"folder"`
		Jobs   string            `json:"jobs"` // names, with commas or wildcards; "" means all
		Hold   bool              `json:"hold"`
		Ignore bool              `json:"ignore_criteria"`
		Date   string            `json:"order_date"`
		Vars   map[string]string `json:"variables"`
	}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	if args.Server == "" || args.Folder == "" || strings.ContainsAny(args.Server+args.Folder, "*?/") {
		return nil, executor.Invalidf("ctm and folder name one server and one folder")
	}
	if err := a.allowed(args.Server, args.Folder); err != nil {
		return nil, err
	}
	if t.DryRun() {
		return map[string]any{"would": "run", "ctm": args.Server, "folder": args.Folder, "jobs": args.Jobs}, nil
	}
	body := map[string]any{"ctm": args.Server, "folder": args.Folder, "hold": args.Hold, "ignoreCriteria": args.Ignore}
	if args.Jobs != "" {
		body["jobs"] = args.Jobs
	}
	if args.Date != "" {
		body["orderDate"] = args.Date
	}
	vars := []map[string]string{{variable: t.ActionID()}}
	for k, v := range args.Vars {
		vars = append(vars, map[string]string{k: v})
	}
	slices.SortFunc(vars[1:], func(x, y map[string]string) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	body["variables"] = vars
	var answer struct {
		RunID     string `json:"runId"`
		StatusURI string `json:"statusURI"`
	}
	err := a.call(ctx, http.MethodPost, "/run/order", body, &answer)
	if f, ok := errors.AsType[*executor.Failure](err); ok && f.Kind == builtin.KindOutcomeUnknown {
		return nil, executor.Final(fmt.Errorf("%w; look for the jobs with %s=%s before it is asked again", err, variable, t.ActionID()), f.Kind)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"run_id": answer.RunID, "status_uri": answer.StatusURI}, nil
}

// job makes the handler of a verb that acts on one job, unless that is done.
func (a *api) job(verb string, done func(*status, int) bool) executor.Handler {
	return func(ctx context.Context, t *executor.Task) (any, error) {
		var args struct {
			JobID string `json:"job_id"` // server:orderID
			Runs  int    `json:"runs"`   // of rerun: the number of runs that whoever asks has seen
		}
		if err := t.Args(&args); err != nil {
			return nil, err
		}
		if args.JobID == "" || strings.ContainsAny(args.JobID, "/?#%\\") || args.Runs < 0 || args.Runs > 0 && verb != "rerun" {
			return nil, executor.Invalidf("job_id is server:order, and runs goes with controlm_rerun")
		}
		place := "/run/job/" + url.PathEscape(args.JobID)
		var now status
		if err := a.call(ctx, http.MethodGet, place+"/status", nil, &now); err != nil {
			return nil, err
		}
		if now.Server == "" { // older versions leave it out; the order's ID begins with it
			now.Server, _, _ = strings.Cut(args.JobID, ":")
		}
		if err := a.allowed(now.Server, now.Folder); err != nil {
			return nil, err
		}
		result := map[string]any{"job_id": args.JobID, "name": now.Name, "was": now.Status, "runs": now.Runs}
		switch {
		case t.DryRun():
			result["would"] = verb
			return result, nil
		case done(&now, args.Runs):
			result["already"] = true
			return result, nil
		}
		var answer struct {
			Message string `json:"message"`
			Status  string `json:"status"` // of rerun
		}
		if err := a.call(ctx, http.MethodPost, place+"/"+verb, struct{}{}, &answer); err != nil {
			return nil, err
		}
		if answer.Message != "" {
			result["message"] = answer.Message
		}
		return result, nil
	}
}

// call makes one request, again after a short Retry-After, and decodes its answer.
func (a *api) call(ctx context.Context, method, where string, body, out any) error {
	return builtin.Patiently(ctx, time.Duration(a.MaxWait), func() error { return a.once(ctx, method, where, body, out) })
}

func (a *api) once(ctx context.Context, method, where string, body, out any) error {
	ctx, done := context.WithTimeout(ctx, time.Duration(a.Timeout))
	defer done()
	token, err := a.Token.Read()
	if err != nil {
		return err
	}
	var b []byte
	if body != nil {
		if b, err = json.Marshal(body); err != nil {
			return executor.Invalidf("the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.Endpoint, "/")+where, bytes.NewReader(b))
	if err != nil {
		return executor.Invalidf("the request: %w", err)
	}
	req.Header.Set("x-api-key", token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := builtin.Do(a.client, req, maxAnswer)
	if err != nil {
		return fmt.Errorf("Control-M: %w", err)
	}
	if err := builtin.StatusError(res, builtin.Redact(said(res.Body), token)); err != nil {
		return fmt.Errorf("Control-M: %w", err)
	}
	if err := json.Unmarshal(res.Body, out); err != nil {
		return executor.OfKind(fmt.Errorf("Control-M's answer is not JSON: %w", err), builtin.KindOutcomeUnknown)
	}
	return nil
}

// said returns the messages of an error: {"errors":[{"message":…,"id":…,"item":…}]}.
func said(body []byte) string {
	var answer struct {
		Errors []struct {
			Message string `json:"message"`
			Item    string `json:"item"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	var all []string
	for _, e := range answer.Errors {
		all = append(all, strings.TrimSpace(e.Message+" "+e.Item))
	}
	s := strings.Join(all, "; ")
	return s[:min(len(s), 500)]
}
