package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// The runtimes, by the names of their programs. A worker carries the name as the
// value of its label entropy.LabelContainer.
const (
	Podman  = "podman"
	Docker  = "docker"
	Nerdctl = "nerdctl"
)

// Choices of a worker beside a runtime's name.
const (
	Auto = "auto" // the first of podman, docker and nerdctl that works
	None = "none" // run no images; "" means the same
)

// probeTimeout bounds the question whether a runtime works. One that takes
// longer is as good as none.
const probeTimeout = 10 * time.Second

// Runtime is a container runtime of this machine. It is a value and never
// changes; equal runtimes are the same one.
type Runtime struct {
	Kind    string   `json:"kind"`           // Podman, Docker or Nerdctl
	Program string   `json:"program"`        // absolute path of its program
	User    string   `json:"user"`           // uid:gid in the container that has the worker's rights on its files
	Args    []string `json:"args,omitempty"` // of the operator, for every run
}

// Equal reports whether r and o are the same runtime. Either may be nil.
func (r *Runtime) Equal(o *Runtime) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.Kind == o.Kind && r.Program == o.Program && r.User == o.User && strings.Join(r.Args, "\x00") == strings.Join(o.Args, "\x00")
}

// Exec runs a program to its end with an empty standard input and returns what
// it wrote and its exit code, −1 if a signal ended it. An error means that it
// was not run, or did not end in the time that ctx gave; nothing of it runs on.
type Exec func(ctx context.Context, argv []string) (Output, error)

// Output is what a program wrote, of each stream the first 64 KiB, and its exit
// code.
type Output struct {
	Stdout, Stderr string
	Code           int
}

// LastLine returns the last line of text that says something: a runtime's
// message about its failure, without the advice to read the help and the log
// lines that may follow it.
func LastLine(text string) string {
	logged := ""
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range slices.Backward(lines) {
		switch line = strings.TrimSpace(line); {
		case line == "" || strings.Contains(line, " --help'"):
		case strings.HasPrefix(line, `time="`) && !strings.Contains(line, "level=fatal"): // nerdctl's message is a fatal one
			if logged == "" {
				logged = line
			}
		default:
			return line
		}
	}
	return logged
}

// Command is an [Exec] for a process that does not reap its children itself.
func Command(ctx context.Context, argv []string) (Output, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // what it started may hold its output open
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && ctx.Err() == nil {
		err = nil
	}
	if ctx.Err() != nil {
		return Output{}, fmt.Errorf("%s did not answer: %w", argv[0], ctx.Err())
	}
	if err != nil {
		return Output{}, err
	}
	return Output{Stdout: string(stdout), Stderr: string(stderr), Code: cmd.ProcessState.ExitCode()}, nil
}

// MaxOutput is how much of each stream an [Exec] keeps, in bytes.
const MaxOutput = 64 << 10

// limited keeps the first MaxOutput bytes that are written to it.
type limited []byte

func (l *limited) Write(p []byte) (int, error) {
	*l = append(*l, p[:min(len(p), MaxOutput-len(*l))]...)
	return len(p), nil
}

// Find returns the runtime of choice that works on this machine: its program is
// in PATH and answers. Args are the operator's own arguments for every run. An
// error says of each runtime that was tried what is wrong with it.
func Find(ctx context.Context, choice string, args []string, run Exec) (*Runtime, error) {
	kinds := []string{choice}
	switch choice {
	case Auto:
		kinds = []string{Podman, Docker, Nerdctl}
	case None, "":
		return nil, errors.New("container images are switched off")
	}
	var errs []error
	for _, kind := range kinds {
		program, err := exec.LookPath(kind)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r := &Runtime{Kind: kind, Program: program, Args: args}
		if err = r.probe(ctx, run); err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Valid reports whether choice is one that [Find] knows.
func Valid(choice string) bool {
	switch choice {
	case Auto, None, "", Podman, Docker, Nerdctl:
		return true
	}
	return false
}

// probe asks the runtime about itself. Where its containers' root is this
// worker's user (it is rootless, or the worker is root), containers run as that
// root; elsewhere as the worker's user, so that its files stay its own.
func (r *Runtime) probe(ctx context.Context, run Exec) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	question := "{{json .SecurityOptions}}"
	if r.Kind == Podman {
		question = "{{.Host.Security.Rootless}}"
	}
	out, err := run(ctx, []string{r.Program, "info", "--format", question})
	if err != nil {
		return err
	}
	if out.Code != 0 {
		return fmt.Errorf("%s does not work: %s", r.Kind, LastLine(out.Stderr))
	}
	rootless := strings.Contains(out.Stdout, "rootless") || r.Kind == Podman && strings.TrimSpace(out.Stdout) == "true"
	r.User = "0:0"
	if uid := os.Geteuid(); uid != 0 && !rootless {
		r.User = fmt.Sprintf("%d:%d", uid, os.Getegid())
	}
	return nil
}
