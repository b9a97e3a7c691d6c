package fabric

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// WorkerConfig configures a [Worker]. DataDir is required, and
// TokenFile unless Control is set.
type WorkerConfig struct {
	DataDir string // of this worker alone; holds its key, its spool and its jobs' files
	// Server is the control plane's URL. "" means where it was last, or, for a worker
	// that never registered, where it answers on the local networks: OpenWorker then
	// waits until it does or its context ends.
	Server    string
	TokenFile string // holds the join token; needed until the worker has joined
	// TrustLAN lets a worker that has neither joined nor a token ask to be let in
	// without one; see [PairingCode]. OpenWorker then waits until it is.
	TrustLAN bool
	// ShowCode is told of each code that a person has to carry to the control plane;
	// nil means that it is logged.
	ShowCode func(PairingCode)
	// RootCAs may vouch for the control plane, where neither the token nor the
	// worker's memory pins its authority; nil means the system's.
	RootCAs *x509.CertPool
	// Control, when set, is a control plane in this process: no HTTP, no token.
	Control *Control

	Name   entropy.WorkerID // "" means the host's name
	Slots  int              // 0 means the number of CPUs
	Labels map[string]string
	// Resources to give, beside the detected ones, which they override.
	Resources entropy.Resources
	Handlers  map[string]worker.Handler // Go handlers it offers
	// ContainerRuntime runs jobs with an image: "podman", "docker" or "nerdctl", or
	// "auto" for the first that works; "" or "none" means no such jobs.
	// ContainerArgs are added to its command for every container.
	ContainerRuntime string
	ContainerArgs    []string

	// SupervisorCommand starts the process that holds the jobs; nil means this
	// program with the argument "supervisor".
	SupervisorCommand []string

	Gossip GossipConfig
	// NoDiscovery leaves out the search on the local networks for a control plane
	// that is no longer where it was. A worker without a Server searches all the same.
	NoDiscovery bool

	Version string
	Logger  *slog.Logger // nil discards
}

// Worker is a worker node.
type Worker struct {
	node   *worker.Node
	gossip *workerGossip         // nil: it shares a process with its control plane
	find   func(context.Context) // searches for a control plane that has moved; nil: it cannot
	follow func(context.Context) // fetches the cluster's keys when they change; nil: it has none
}

// OpenWorker prepares a worker; Run runs it.
func OpenWorker(ctx context.Context, cfg WorkerConfig) (*Worker, error) {
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
	key, err := identity.LoadOrCreateWorkerKey(filepath.Join(cfg.DataDir, identity.WorkerKeyFile), cfg.Name)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := new(Worker)
	service, err := w.dial(ctx, cfg, key)
	if err != nil {
		return nil, err
	}
	w.node, err = worker.New(worker.Config{DataDir: filepath.Join(cfg.DataDir, "worker-state"), Name: cfg.Name, Slots: cfg.Slots, Labels: cfg.Labels, Resources: cfg.Resources,
		Service: service, Handlers: cfg.Handlers, Exec: true, SupervisorCommand: cfg.SupervisorCommand,
		ContainerRuntime: cfg.ContainerRuntime, ContainerArgs: cfg.ContainerArgs,
		KeyHash: identity.Hash(key), Version: cfg.Version, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// dial returns the worker's way to its control plane, found on the local networks
// when no address is given.
func (w *Worker) dial(ctx context.Context, cfg WorkerConfig, key string) (entropy.WorkerService, error) {
	if cfg.Control != nil {
		cfg.Control.keys.exempt(cfg.Name)
		return entropy.AsWorker(cfg.Control.system, entropy.Principal{Role: entropy.RoleWorker, Name: string(cfg.Name), KeyHash: identity.Hash(key)}), nil
	}
	if err := pair(ctx, &cfg, key); err != nil {
		return nil, err
	}
	finder := newFinder(cfg)
	if cfg.Server == "" {
		var err error
		if cfg.Server, err = finder.start(ctx); err != nil {
			return nil, err
		}
	}
	l, err := dialLoyal(cfg, key)
	if err != nil {
		return nil, err
	}
	w.gossip = &workerGossip{cfg: cfg, id: identity.Hash(key)[:16], host: l.host}
	l.told = func(r entropy.Registration, reply entropy.Registered) {
		finder.remember(l.Server())
		w.gossip.registered(r, reply)
	}
	l.rekeyed, w.follow = w.gossip.rekeyed, l.follow
	if !cfg.NoDiscovery && !onLoopback(l.host()) {
		l.missed = finder.missed
		w.find = func(ctx context.Context) { finder.run(ctx, l.Client) }
	}
	return l, nil
}

// Run works until ctx ends. Jobs that run then go on in the supervisor.
func (w *Worker) Run(ctx context.Context) error {
	searching, stop := context.WithCancel(ctx)
	var search sync.WaitGroup
	for _, beside := range []func(context.Context){w.find, w.follow} {
		if beside != nil {
			search.Go(func() { beside(searching) })
		}
	}
	defer func() {
		stop()
		search.Wait()
		if w.gossip != nil {
			w.gossip.leave()
		}
	}()
	return w.node.Run(ctx)
}

// Drain finishes what runs and takes no more.
func (w *Worker) Drain() { w.node.Drain() }

// Stats returns what the worker holds now.
func (w *Worker) Stats() worker.Stats { return w.node.Stats() }

// SupervisorMain is the main function of the process that holds a worker's jobs.
func SupervisorMain(args []string) int { return worker.SupervisorMain(args) }
