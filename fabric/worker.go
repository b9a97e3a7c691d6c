package fabric

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// WorkerConfig configures a [Worker]. DataDir is required, and Server with
// TokenFile unless Service is set.
type WorkerConfig struct {
	DataDir   string // of this worker alone; holds its key, its spool and its jobs' files
	Server    string // the control plane's URL
	TokenFile string // holds the join token; needed until the worker is known
	// Control, when set, is a control plane in this process: no HTTP, no token.
	Control *Control

	Name   entropy.WorkerID // "" means the host's name
	Slots  int              // 0 means the number of CPUs
	Labels map[string]string
	// Resources to give, beside the detected ones, which they override.
	Resources entropy.Resources
	Handlers  map[string]worker.Handler // Go handlers it offers

	// SupervisorCommand starts the process that holds the jobs; nil means this
	// program with the argument "supervisor".
	SupervisorCommand []string

	Version string
	Logger  *slog.Logger // nil discards
}

// Worker is a worker node.
type Worker struct{ node *worker.Node }

// OpenWorker prepares a worker; Run runs it.
func OpenWorker(_ context.Context, cfg WorkerConfig) (*Worker, error) {
	if cfg.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "the host has no name: %v", err).WithHint("give the worker one with --name")
		}
		cfg.Name = entropy.WorkerID(host)
	}
	if err := entropy.ValidateID("worker name", string(cfg.Name)); err != nil {
		return nil, err
	}
	if cfg.Slots == 0 {
		cfg.Slots = runtime.NumCPU()
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "make the worker's data directory: %v", err).WithHint("choose another with --data")
	}
	key, err := identity.LoadOrCreateWorkerKey(filepath.Join(cfg.DataDir, "worker.key"), cfg.Name)
	if err != nil {
		return nil, err
	}
	service, err := dial(cfg, key)
	if err != nil {
		return nil, err
	}
	node, err := worker.New(worker.Config{DataDir: filepath.Join(cfg.DataDir, "worker-state"), Name: cfg.Name, Slots: cfg.Slots, Labels: cfg.Labels, Resources: cfg.Resources,
		Service: service, Handlers: cfg.Handlers, Exec: true, SupervisorCommand: cfg.SupervisorCommand,
		KeyHash: identity.Hash(key), Version: cfg.Version, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &Worker{node: node}, nil
}

func dial(cfg WorkerConfig, key string) (entropy.WorkerService, error) {
	if cfg.Control != nil {
		return entropy.AsWorker(cfg.Control.system, entropy.Principal{Role: entropy.RoleWorker, Name: string(cfg.Name), KeyHash: identity.Hash(key)}), nil
	}
	token := ""
	if cfg.TokenFile != "" {
		var err error
		if token, err = identity.ReadSecretFile(cfg.TokenFile); err != nil {
			return nil, err
		}
	}
	return entropy.NewClient(entropy.ClientConfig{Server: cfg.Server, Token: token, WorkerKey: key})
}

// Run works until ctx ends. Jobs that run then go on in the supervisor.
func (w *Worker) Run(ctx context.Context) error { return w.node.Run(ctx) }

// Drain finishes what runs and takes no more.
func (w *Worker) Drain() { w.node.Drain() }

// Stats returns what the worker holds now.
func (w *Worker) Stats() worker.Stats { return w.node.Stats() }

// SupervisorMain is the main function of the process that holds a worker's jobs.
func SupervisorMain(args []string) int { return worker.SupervisorMain(args) }
