package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/deadline"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
)

// Config says what a worker node is.
type Config struct {
	// DataDir holds the node's state: spools, workspaces, input cache. One node
	// at a time may use it. It is made if it does not exist. Required.
	DataDir string
	// Name is the worker's name in the fabric, for logs; the credential behind
	// Service decides. Required.
	Name entropy.WorkerID
	// Slots is how many assignments run at once; 0 means the number of CPUs.
	Slots int
	// Labels are offered to jobs that require them, beside the detected ones
	// (os, arch, and gpu where there is one), which they override.
	Labels map[string]string
	// Resources are what the node has to give, beside what is detected (cpu, mem,
	// and gpu where there are some), which they override. An amount of 0 hides one.
	Resources entropy.Resources
	// Service is the control plane. Required.
	Service entropy.WorkerService
	// Handlers are the Go handlers offered, by name. A job with a handler goes
	// only to workers that offer it.
	Handlers map[string]Handler
	// Exec lets the node run commands, through the supervisor process. One of
	// Exec and Handlers is required.
	Exec bool
	// ContainerRuntime is the program that runs jobs with an image, if Exec is
	// set: "podman", "docker" or "nerdctl", or "auto" for the first of the three
	// that works; "" or "none" for no such jobs. It is looked for again every half
	// minute, and while there is none the node is offered no such jobs.
	ContainerRuntime string
	// ContainerArgs are added to the runtime's command for every container, as
	// "--network=none" or "--gpus=all".
	ContainerArgs []string
	// SupervisorCommand is the program that becomes the supervisor, with the
	// arguments that lead to [SupervisorMain]; flags are appended. Empty means
	// this executable with the argument "supervisor".
	SupervisorCommand []string
	// SupervisorIdleExit is how long a supervisor waits for an agent with
	// nothing to do; 0 means 10 min.
	SupervisorIdleExit time.Duration
	// KeyHash is the SHA-256 of the worker's own key, hex, sent at registration.
	KeyHash string
	// Version is that of this program, sent at registration.
	Version string
	// MaxLog is how much of each stream of a job's output is kept, in bytes;
	// 0 means 16 MiB.
	MaxLog int64
	// CacheSize bounds the cache of job inputs, in bytes; 0 means 4 GiB.
	CacheSize int64
	// MinFree is the free space on the data directory's file system, in bytes,
	// below which the node takes no more work; 0 means 16 MiB, negative none.
	MinFree int64
	// Grace is how long handlers may take to return when the node stops, and
	// between TERM and KILL for jobs that name none; 0 means 5 s.
	Grace time.Duration
	// Logger receives the node's log; nil discards it.
	Logger *slog.Logger

	bootID string        // of tests
	probe  time.Duration // between two looks for a container runtime; of tests
}

func (c Config) withDefaults() (Config, error) {
	if c.Slots == 0 {
		c.Slots = runtime.NumCPU()
	}
	if c.MaxLog == 0 {
		c.MaxLog = supervisor.DefaultMaxLog
	}
	if c.CacheSize == 0 {
		c.CacheSize = 4 << 30
	}
	if c.MinFree == 0 {
		c.MinFree = 16 << 20
	}
	if c.Grace == 0 {
		c.Grace = deadline.DefaultGrace
	}
	if c.probe == 0 {
		c.probe = 30 * time.Second
	}
	if c.SupervisorIdleExit == 0 {
		c.SupervisorIdleExit = supervisor.DefaultIdleExit
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.Exec && len(c.SupervisorCommand) == 0 {
		var self string
		if self, err = os.Executable(); err != nil {
			return c, fmt.Errorf("find the supervisor's program: %w", err)
		}
		c.SupervisorCommand = []string{self, "supervisor"}
	}
	if c.bootID == "" {
		c.bootID, err = boottime.BootID()
	}
	if c.DataDir != "" && err == nil {
		c.DataDir, err = filepath.Abs(c.DataDir)
	}
	return c, err
}

func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("there is no data directory")
	}
	if err := entropy.ValidateID("worker name", string(c.Name)); err != nil {
		bad("%w", err)
	}
	if c.Service == nil {
		bad("there is no service to ask for work")
	}
	if c.Slots < 1 || c.Slots > 100_000 {
		bad("%d slots; a worker has 1 to 100,000", c.Slots)
	}
	if !c.Exec && len(c.Handlers) == 0 {
		bad("it runs neither commands nor handlers")
	}
	if !container.Valid(c.ContainerRuntime) {
		bad("container runtime %q; it is auto, podman, docker, nerdctl or none", c.ContainerRuntime)
	}
	for name, amount := range c.Resources {
		if err := entropy.ValidateID("resource", name); err != nil {
			bad("%w", err)
		}
		if amount < 0 || amount > entropy.MaxAmount || name == entropy.ResourceGPU && amount%entropy.Unit != 0 {
			bad("resource %s of %s; it must not be negative, and GPUs are whole", name, amount)
		}
	}
	for name, h := range c.Handlers {
		if err := entropy.ValidateID("handler name", name); err != nil {
			bad("%w", err)
		}
		if h == nil {
			bad("handler %q is nil", name)
		}
	}
	if c.MaxLog < 0 || c.CacheSize < 0 || c.Grace < 0 || c.SupervisorIdleExit < 0 {
		bad("a size or a duration is negative")
	}
	if len(errs) == 0 {
		return nil
	}
	return entropy.Errorf(entropy.CodeInvalid, "worker configuration: %v", errors.Join(errs...))
}
