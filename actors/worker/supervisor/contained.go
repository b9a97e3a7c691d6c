package supervisor

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// errClosing ends a run whose engine closes before its end is known.
var errClosing = errors.New("the supervisor is closing")

// Where a container sees its directories. ENTROPY_INPUT_DIR is /entropy/input,
// and so on.
const (
	boxRoot = "/entropy/"
	boxWork = boxRoot + "work"
)

// box is the container of a run. The run's leader is the runtime's client.
type box struct {
	runtime *container.Runtime
	spec    container.Run
	created bool // there may have been one
	end     container.End
}

// contain returns the client that runs the job's image.
func (r *run) contain() (program, error) {
	a := &r.item.Assignment
	rt := r.item.Runtime
	if rt == nil {
		return program{}, errors.New("this worker has no container runtime")
	}
	if err := r.e.boxes.use(rt); err != nil {
		return program{}, err
	}
	spec := container.Run{Name: container.Name(string(a.AssignmentID)), Image: a.Spec.Image, Command: a.Spec.Command, Workdir: boxWork, IDFile: r.dir.Path() + "/container",
		Mounts: []container.Mount{{Source: r.dir.Scratch(), Target: boxWork}},
		Labels: map[string]string{container.LabelAssignment: string(a.AssignmentID), container.LabelSpool: r.e.spool.ID(), container.LabelSupervisor: r.e.boxes.self}}
	if cwd := a.Spec.Cwd; cwd != "" {
		spec.Workdir = cwd
		spec.Mounts = append(spec.Mounts, container.Mount{Source: cwd, Target: cwd})
	}
	vars := map[string]string{}
	for _, v := range r.variables(nil) {
		name, value, _ := strings.Cut(v, "=")
		if target, ok := boxDir(name); ok {
			spec.Mounts = append(spec.Mounts, container.Mount{Source: value, Target: target, ReadOnly: name == "ENTROPY_INPUT_DIR"})
			value = target
		}
		vars[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		spec.Env = append(spec.Env, container.Variable{Name: name, Value: vars[name]})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.box = &box{runtime: rt, spec: spec}
	argv, env := rt.Run(&spec, os.Environ())
	return program{rt.Program, argv, env}, nil
}

// boxDir returns where a container sees the directory that one of the fabric's
// own variables names.
func boxDir(variable string) (string, bool) {
	name, ok := strings.CutPrefix(variable, "ENTROPY_")
	name, dir := strings.CutSuffix(name, "_DIR")
	return boxRoot + strings.ToLower(name), ok && dir && ownVariables[variable]
}

// killContained ends the container's processes without asking the runtime, which
// may be slow or hang: their environment tells whose they are. Those that this
// user may not see are ended by the removal that follows.
func (r *run) killContained() {
	killOnce(r.e.spool.ID(), map[entropy.AssignmentID]bool{r.item.Assignment.AssignmentID: true}, nil, nil)
}

// uncontain notes how the container ended, once its client has, and blocks until
// the container is gone.
func (r *run) uncontain(status unix.WaitStatus) error {
	end := container.End{Code: -1}
	if status.Exited() {
		end.Code = status.ExitStatus()
	}
	b := r.box
	if b.created = b.runtime.Created(&b.spec); b.created && container.Ambiguous(end.Code) {
		end.State, end.Unknown = r.e.boxes.client(b.runtime).State(context.Background(), b.spec.Name)
	}
	b.end = end
	if b.created && !r.e.boxes.discard(b.runtime, r.item.Assignment.AssignmentID, r.e.closing) {
		return errClosing
	}
	return nil
}

// describeContained replaces what was said about the client by what is known
// about the container. The client's output is complete.
func (r *run) describeContained(c *entropy.Completion) {
	c.Usage = &entropy.Usage{} // the client's own is of no use to anybody
	r.mu.Lock()
	reason := r.reason
	r.mu.Unlock()
	if reason != "" {
		c.ExitCode, c.Signal = nil, "" // the client's
		if code := r.box.end.Code; !container.Ambiguous(code) {
			c.ExitCode = &code
		}
		return
	}
	c.ExitCode, c.Signal, c.Reason, c.Message = nil, "", "", ""
	end, client := r.box.end, r.e.boxes.client(r.box.runtime)
	if container.Ambiguous(end.Code) && !end.State.Started() {
		end.Said = lastLine(r.dir.Log(workspace.Stderr))
		if end.NotThere = client.Works(context.Background()); end.NotThere == nil {
			var there bool
			there, end.NotThere = client.HasImage(context.Background(), r.item.Assignment.Spec.Image)
			end.NoImage = !there
		}
	}
	end.Describe(c)
	c.Message = cut(c.Message)
}

// lastLine returns the last line of a log, or "".
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var b [8 << 10]byte
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	n, _ := f.ReadAt(b[:], max(0, fi.Size()-int64(len(b)))) // the end of the file is no error here
	return container.LastLine(string(b[:n]))
}
