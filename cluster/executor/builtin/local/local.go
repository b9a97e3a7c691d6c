// Package local executes commands of this machine that the settings name: an
// action chooses one and fills in its placeholders, and nothing else. No shell is
// involved, the environment is clean, and the whole process group ends with the
// attempt (S-4: what this machine allows cannot be widened from elsewhere).
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// Config says which commands there are. Each key is the command of an action.
type Config struct {
	Commands map[string]Command `json:"commands"`
}

// Command is what one command of an action runs.
type Command struct {
	// Argv is the program, as an absolute path, and its arguments. A placeholder in
	// braces, as in "--user={user}", is an argument of the action.
	Argv []string `json:"argv"`
	// DryRun is run in place of Argv for a dry run. Empty: a dry run only says what
	// would be run.
	DryRun []string `json:"dry_run"`
	// Args has for each placeholder the regular expression that its whole value must
	// match.
	Args map[string]string `json:"args"`
	// Dir is the working directory, absolute; "" means /.
	Dir string `json:"dir"`
	// Env is the environment, beside PATH, ENTROPY_ACTION_ID and ENTROPY_ATTEMPT_ID.
	// A value may hold a secret.
	Env map[string]builtin.Value `json:"env"`
	// Pass names variables of the executor's own environment that are passed on.
	Pass    []string         `json:"pass"`
	Timeout entropy.Duration `json:"timeout"` // 0 means that of the attempt only
	Grace   entropy.Duration `json:"grace"`   // between TERM and KILL; 0 means 5 s
	Output  int              `json:"output"`  // bytes kept of the end of each of stdout and stderr; 0 means 16 KiB
	// Final are exit codes that no other attempt would change.
	Final []int `json:"final"`

	patterns map[string]*regexp.Regexp
}

const (
	maxOutput  = 64 << 10
	maxArg     = 4 << 10
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// Register gives a handler for each command to an executor.
func Register(to executor.Registry, conf Config) error {
	var errs []error
	for name, c := range conf.Commands {
		if err := c.prepare(); err != nil {
			errs = append(errs, fmt.Errorf("local command %s: %w", name, err))
			continue
		}
		to.Handle(name, c.handle, executor.DryRun())
	}
	return errors.Join(errs...)
}

// prepare fills in defaults and says everything that is wrong.
func (c *Command) prepare() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Dir == "" {
		c.Dir = "/"
	}
	if c.Grace == 0 {
		c.Grace = entropy.Duration(5 * time.Second)
	}
	if c.Output == 0 {
		c.Output = 16 << 10
	}
	if len(c.Argv) == 0 || !filepath.IsAbs(c.Argv[0]) || placeholder.MatchString(c.Argv[0]) {
		wrong("argv begins with the absolute path of a program")
	}
	if len(c.DryRun) > 0 && (!filepath.IsAbs(c.DryRun[0]) || placeholder.MatchString(c.DryRun[0])) {
		wrong("dry_run begins with the absolute path of a program")
	}
	if !filepath.IsAbs(c.Dir) || c.Timeout < 0 || c.Grace < 0 || c.Output < 0 || c.Output > maxOutput {
		wrong("dir is absolute, times are not negative, output is at most %d", maxOutput)
	}
	c.patterns = map[string]*regexp.Regexp{}
	for name, pattern := range c.Args {
		re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil {
			wrong("args.%s: %w", name, err)
			continue
		}
		c.patterns[name] = re
	}
	for _, a := range slices.Concat(c.Argv, c.DryRun) {
		for _, m := range placeholder.FindAllStringSubmatch(a, -1) {
			if _, ok := c.Args[m[1]]; !ok {
				wrong("{%s} has no pattern in args", m[1])
			}
		}
	}
	for name, v := range c.Env {
		if err := v.Validate(); err != nil {
			wrong("env.%s: %w", name, err)
		}
	}
	return errors.Join(errs...)
}

// fill puts the arguments of an action into argv. A value is always a part of one
// argument, never more, and never an option where the pattern does not say so.
func (c *Command) fill(argv []string, raw json.RawMessage) ([]string, error) {
	given := map[string]any{}
	if len(raw) > 0 && string(raw) != "null" {
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		if err := d.Decode(&given); err != nil {
			return nil, executor.Invalidf("the arguments: %w", err)
		}
	}
	values := map[string]string{}
	for name, v := range given {
		re := c.patterns[name]
		if re == nil {
			return nil, executor.Invalidf("there is no argument %q", name)
		}
		var s string
		switch v := v.(type) {
		case string:
			s = v
		case json.Number:
			s = v.String()
		case bool:
			s = strconv.FormatBool(v)
		default:
			return nil, executor.Invalidf("the argument %q is no text, number or boolean", name)
		}
		if len(s) > maxArg || strings.ContainsRune(s, 0) || !re.MatchString(s) {
			return nil, builtin.NotAllowedf("the value of %q is not allowed", name)
		}
		values[name] = s
	}
	out := make([]string, len(argv))
	for i, a := range argv {
		missing := ""
		out[i] = placeholder.ReplaceAllStringFunc(a, func(p string) string {
			v, ok := values[p[1:len(p)-1]]
			if !ok {
				missing = p
			}
			return v
		})
		if missing != "" {
			return nil, executor.Invalidf("the argument %s is missing", missing)
		}
	}
	return out, nil
}

func (c *Command) handle(ctx context.Context, t *executor.Task) (any, error) {
	argv := c.Argv
	if t.DryRun() && len(c.DryRun) > 0 {
		argv = c.DryRun
	}
	argv, err := c.fill(argv, t.Order.Args)
	if err != nil {
		return nil, err
	}
	if t.DryRun() && len(c.DryRun) == 0 {
		return map[string]any{"would": "run", "argv": argv, "dir": c.Dir}, nil
	}
	env, secrets, err := c.environment(t)
	if err != nil {
		return nil, err
	}
	if c.Timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, time.Duration(c.Timeout))
		defer done()
	}
	return c.run(ctx, t, argv, env, secrets)
}

func (c *Command) environment(t *executor.Task) (env, secrets []string, err error) {
	env = []string{"PATH=" + searchPath, "ENTROPY_ACTION_ID=" + t.ActionID(), "ENTROPY_ATTEMPT_ID=" + string(t.Order.AttemptID)}
	for _, name := range c.Pass {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range c.Env {
		value, secret, err := v.Read()
		if err != nil {
			return nil, nil, err
		}
		env = append(env, name+"="+value)
		secrets = append(secrets, secret)
	}
	return env, secrets, nil
}

// run runs the process in a group of its own. When ctx ends the group gets TERM,
// and KILL after the grace; KILL also when the leader has ended, for whatever it
// left behind.
func (c *Command) run(ctx context.Context, t *executor.Task, argv, env, secrets []string) (any, error) {
	stdout, stderr := &tail{max: c.Output}, &tail{max: c.Output}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, env, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Duration(c.Grace) // of a pipe that a stranger holds open
	if err := cmd.Start(); err != nil {
		return nil, executor.OfKind(fmt.Errorf("start: %w", err), "start")
	}
	ended := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		t.Log.Info("ending the process group")
		signal(cmd, syscall.SIGTERM)
		timer := time.NewTimer(time.Duration(c.Grace))
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			signal(cmd, syscall.SIGKILL)
		}
	})
	// The leader is only looked at here and reaped by Wait: until then the group's
	// number cannot become another's.
	awaitExit(cmd.Process.Pid)
	signal(cmd, syscall.SIGKILL)
	close(ended)
	killer.Wait()
	err := cmd.Wait()

	shown := func(b *tail) string { return strings.ToValidUTF8(builtin.Redact(b.text(), secrets...), "\ufffd") }
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w; it was ended: %s", ctx.Err(), lastLine(shown(stderr)))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		failure := fmt.Errorf("%s: %s", exit.ProcessState, lastLine(shown(stderr)))
		if slices.Contains(c.Final, exit.ExitCode()) {
			return nil, executor.Final(failure, "exit")
		}
		return nil, executor.OfKind(failure, "exit")
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return nil, err
	}
	result := map[string]any{"stdout": shown(stdout), "stderr": shown(stderr)}
	if stdout.cut || stderr.cut {
		result["cut"] = true
	}
	return result, nil
}

func signal(cmd *exec.Cmd, s syscall.Signal) { syscall.Kill(-cmd.Process.Pid, s) }

// lastLine returns the end of a text that fits into a message.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return s[:min(len(s), 300)]
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	max int
	b   []byte
	cut bool
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - t.max; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
