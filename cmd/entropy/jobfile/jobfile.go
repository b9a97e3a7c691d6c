package jobfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/entropy-fabric/entropy"
)

// Limits of a job file.
const (
	MaxSize  = 1 << 20 // bytes
	MaxNodes = 200_000 // values, each counted as often as an alias repeats it
	MaxDepth = 32      // of lists and maps in each other
)

// Job is one job, or one array, of a job file. The zero value of each field means
// what it means in [entropy.JobSpec] and [entropy.Submission].
type Job struct {
	ID       entropy.JobID `json:"id"`
	Hold     bool          `json:"hold"`
	Array    Range         `json:"array"`     // "0-99", or one index
	EachLine string        `json:"each_line"` // a file, relative to the job file: one member for each line
	Replace  string        `json:"replace"`
	Inputs   []string      `json:"inputs"` // files and directories, relative to the job file
	After    []After       `json:"after"`

	entropy.JobSpec // its Inputs, After and Array stay empty

	Line int `json:"-"` // where the job begins in its file
}

// Range is the indexes of an array; nil Spec means no array.
type Range struct{ Spec *entropy.ArraySpec }

// UnmarshalJSON reads "0-99", or one index.
func (r *Range) UnmarshalJSON(b []byte) (err error) {
	var s string
	if json.Unmarshal(b, &s) != nil {
		s = string(b)
	}
	r.Spec, err = entropy.ParseArray(s)
	return err
}

// After is a job that must end first: one of the same file by its name, or else
// one that exists by its ID. It is written "NAME", "NAME:end", or as a map.
type After struct{ entropy.Dependency }

// UnmarshalJSON reads "NAME", "NAME:end" or {"job": NAME, "on": "end"}. Names of
// jobs in the file may be any text without a colon.
func (a *After) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		name, on, _ := bytes.Cut([]byte(s), []byte(":"))
		a.Job, a.On = entropy.JobID(name), string(on)
		return a.check()
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&a.Dependency); err != nil {
		return errors.New(`write it as "NAME", "NAME:end" or {job: NAME, on: end}`)
	}
	return a.check()
}

func (a *After) check() error {
	switch a.On {
	case "", entropy.OnEnd:
	case entropy.OnSuccess:
		a.On = ""
	default:
		return fmt.Errorf("%q: it is success or end", a.On)
	}
	if a.Job == "" {
		return errors.New("it names no job")
	}
	return nil
}

// Read reads a job file of this name: the jobs in order, with what defaults says
// filled in. It returns an [entropy.Error] with CodeInvalid or CodeTooLarge that
// names the line.
func Read(name string, r io.Reader) ([]Job, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "%s: %v", name, err)
	}
	if len(text) > MaxSize {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%s is larger than %d bytes", name, MaxSize).
			WithHint("ship data with inputs, and make many like jobs an array")
	}
	d := &decoder{file: name}
	jobs, err := d.document(text)
	if err != nil {
		return nil, err
	}
	if err := checkNames(name, jobs); err != nil {
		return nil, err
	}
	return jobs, nil
}

// document reads the one document of the text.
func (d *decoder) document(text []byte) ([]Job, error) {
	reader := yaml.NewDecoder(bytes.NewReader(text))
	var root, more yaml.Node
	if err := reader.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, entropy.Errorf(entropy.CodeInvalid, "%s is empty", d.file)
		}
		return nil, entropy.Errorf(entropy.CodeInvalid, "%s: %v", d.file, err).WithHint("check the YAML near that line")
	}
	if err := reader.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, d.errorf(&more, "a second document begins; write several jobs as a list under jobs")
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return nil, d.errorf(&root, "a job file is a map: one job, or jobs and defaults")
	}
	return d.top(root.Content[0])
}

// top reads the top of a file: one job, or several.
func (d *decoder) top(n *yaml.Node) ([]Job, error) {
	var list, defaults *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "jobs":
			list = n.Content[i+1]
		case "defaults":
			defaults = n.Content[i+1]
		}
	}
	if list == nil && defaults == nil {
		j, err := d.job(nil, n)
		return []Job{j}, err
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Value != "jobs" && k.Value != "defaults" {
			return nil, d.errorf(k, "beside jobs and defaults there is nothing at the top; move %s into one of them", k.Value)
		}
	}
	if err := d.once(n); err != nil {
		return nil, err
	}
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return nil, d.errorf(n, "jobs is missing, or is not a list of jobs")
	}
	if len(list.Content) > entropy.MaxBatch {
		return nil, d.errorf(list, "there are %d jobs, at most %d are allowed; make like ones an array", len(list.Content), entropy.MaxBatch)
	}
	jobs := make([]Job, len(list.Content))
	for i, item := range list.Content {
		var err error
		if jobs[i], err = d.job(defaults, item); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// job reads one job over the defaults: maps are merged, all else is replaced.
func (d *decoder) job(defaults, n *yaml.Node) (Job, error) {
	j := Job{Line: n.Line}
	if defaults != nil {
		if err := d.read(defaults, &j, "defaults"); err != nil {
			return j, err
		}
		if j.ID != "" || j.JobSpec.Name != "" {
			return j, d.errorf(defaults, "defaults cannot hold an id or a name")
		}
	}
	if err := d.read(n, &j, "job"); err != nil {
		return j, err
	}
	if j.JobSpec.RetryOf != "" {
		return j, d.errorf(n, "retry_of is set by the fabric")
	}
	return j, nil
}

// checkNames refuses jobs that after could not tell apart.
func checkNames(file string, jobs []Job) error {
	lines := make(map[string]int)
	for i := range jobs {
		name := jobs[i].Name
		if name == "" {
			continue
		}
		if first, twice := lines[name]; twice {
			return entropy.Errorf(entropy.CodeInvalid, "%s:%d: the name %q is taken by the job at line %d", file, jobs[i].Line, name, first).
				WithHint("names of one file differ, so that after can tell jobs apart")
		}
		lines[name] = jobs[i].Line
	}
	return nil
}

// Submissions returns the jobs as one call: each with its ID, made by newID where
// none is given, and with the names in after replaced by IDs. Inputs and the lines
// of each_line are the caller's to fill in; lines says which jobs have some.
func Submissions(jobs []Job, newID func() string) []entropy.Submission {
	ids := make(map[entropy.JobID]entropy.JobID)
	subs := make([]entropy.Submission, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		id := j.ID
		if id == "" {
			id = entropy.JobID(newID())
		}
		if j.Name != "" {
			ids[entropy.JobID(j.Name)] = id
		}
		subs[i] = entropy.Submission{ID: id, Spec: j.JobSpec, Hold: j.Hold, Atomic: true}
		if j.Array.Spec != nil {
			array := *j.Array.Spec
			array.Replace = j.Replace
			subs[i].Array = &array
		}
	}
	for i := range jobs {
		for _, a := range jobs[i].After {
			if id, own := ids[a.Job]; own {
				a.Job = id
			}
			subs[i].Spec.After = append(slices.Clip(subs[i].Spec.After), a.Dependency)
		}
	}
	return subs
}
