package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

// maxSlots bounds --slots: beyond it a typing error is likelier than a machine.
const maxSlots = 4096

// workerFlags are the flags of a worker, shared by worker and up.
type workerFlags struct {
	name   string
	slots  int
	labels []string

	resources []string

	containerRuntime string
	containerArgs    []string
}

func (f *workerFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.name, "name", "", "the worker's `NAME`, unique in the fabric (default: the host's name)")
	s.IntVar(&f.slots, "slots", runtime.NumCPU(), "jobs it runs at once (default: the CPUs)")
	s.StringArrayVar(&f.labels, "label", nil, "a label `KEY=VALUE` jobs may require (repeatable)")
	s.StringArrayVar(&f.resources, "resource", nil, "a resource `NAME=AMOUNT` jobs may ask for, beside the detected cpu, mem and gpu (repeatable)")
	s.StringVar(&f.containerRuntime, "container-runtime", "auto", "the `PROGRAM` that runs jobs with an image: podman, docker, nerdctl, auto for the first of them that works, or none")
	s.StringArrayVar(&f.containerArgs, "container-arg", nil, "an `ARGUMENT` of the container runtime for every container, as in --container-arg=--network=none (repeatable)")
	s.Lookup("slots").DefValue = "0"
}

// hideDefault keeps a default that depends on this machine out of the help.
func hideDefault(s *pflag.FlagSet, flag string) { s.Lookup(flag).DefValue = "" }

// config checks the flags and returns what the facade wants of them.
func (f *workerFlags) config(logger *slog.Logger) (fabric.WorkerConfig, error) {
	var none fabric.WorkerConfig
	name := f.name
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return none, usagef("this host has no name: %v", err).WithHint("choose one with --name")
		}
		name = host
	}
	if err := entropy.ValidateID("worker name", name); err != nil {
		return none, entropy.AsError(err).WithHint("choose one with --name, as in --name lab-3")
	}
	if f.slots < 1 || f.slots > maxSlots {
		return none, usagef("--slots is %d", f.slots).WithHint("it is from 1 to %d; leave it out for one per CPU", maxSlots)
	}
	labels, err := keyValues("label", f.labels)
	if err != nil {
		return none, err
	}
	if err := checkLabels(labels); err != nil {
		return none, err
	}
	resources, err := amounts("resource", f.resources)
	if err != nil {
		return none, err
	}
	return fabric.WorkerConfig{Name: entropy.WorkerID(name), Slots: f.slots, Labels: labels, Resources: resources, Version: programVersion(), Logger: logger,
		ContainerRuntime: f.containerRuntime, ContainerArgs: f.containerArgs}, nil
}

// amounts reads the values NAME=AMOUNT of a repeatable flag.
func amounts(flag string, values []string) (entropy.Resources, error) {
	pairs, err := keyValues(flag, values)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	r := make(entropy.Resources, len(pairs))
	for name, text := range pairs {
		if err := entropy.ValidateID("resource", name); err != nil {
			return nil, usagef("--%s: %v", flag, err)
		}
		if r[name], err = amount("--"+flag+" "+name+"=", text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// amount reads the amount that follows a flag.
func amount(flag, text string) (entropy.Amount, error) {
	n, err := entropy.ParseAmount(text)
	if err != nil {
		return 0, usagef("%s%s is not an amount, or too large", flag, text).WithHint("write %s2, 0.5 or 64G; there are up to three decimals, and the units k, M, G, T, Ki, Mi, Gi and Ti", flag)
	}
	return n, nil
}

// checkLabels refuses labels that no job could ever require.
func checkLabels(labels map[string]string) error {
	if len(labels) > entropy.MaxLabels {
		return usagef("there are %d labels, at most %d are allowed", len(labels), entropy.MaxLabels)
	}
	for k, v := range labels {
		if len(k) > 128 || len(v) > 256 || !utf8.ValidString(k) || !utf8.ValidString(v) || strings.IndexByte(k+v, 0) >= 0 {
			return usagef("--label %q is not a label", k+"="+v).WithHint("a key has up to 128 bytes, a value up to 256, both UTF-8")
		}
	}
	return nil
}

const workerLong = `Run a worker: it takes jobs from a control plane and runs them.

Results wait on its disk until the control plane has accepted them, so either
side may be away. The token is needed once, to join: the control plane proves that
it is the token's, and the worker exchanges the token for a key of its own. From
then on it belongs to that cluster and talks to no other. Without a token it may
join only where both sides are started with --trust-lan; see entropy worker pair.

Without an address it looks for the control plane on the networks of this machine,
and it looks again when the control plane is no longer where it was. Stopping it leaves its running jobs to its
supervisor process: a worker started again on the same directory finds them.`

func (a *app) workerCommand() *cobra.Command {
	var f workerFlags
	var data, logLevel, join string
	var gossip fabric.GossipConfig
	var noDiscovery, trustLAN bool
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run a worker, or manage the workers of the fabric",
		Long:  workerLong,
		Example: `  entropy worker --token-file worker.token
  entropy worker --join lab1 --token-file worker.token
  entropy worker --trust-lan
  entropy worker --server https://lab1:7600 --token-file worker.token --label gpu=h100
  entropy worker drain lab-3`,
		Args: cobra.NoArgs,
	}
	f.register(c.Flags())
	c.Flags().StringVar(&data, "data", filepath.Join(a.dataDir(), "worker"),
		"data `DIR`; its owner is this worker alone (default: worker below the control plane's default)")
	hideDefault(c.Flags(), "data")
	c.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&join, "join", "", "`HOST` or HOST:PORT of the control plane; a name is looked up anew at every try")
	registerGossip(c.Flags(), &gossip)
	c.Flags().BoolVar(&noDiscovery, "no-discovery", false, "do not look for the control plane on the networks of this machine")
	c.Flags().BoolVar(&trustLAN, "trust-lan", false, "without a token, ask to be let in by a code that you carry to the control plane")
	c.AddCommand(
		a.modeCommand(entropy.WorkerDrain, "Let a worker finish what it runs and take no more"),
		a.modeCommand(entropy.WorkerResume, "Let a drained or quarantined worker take work again"),
		a.modeCommand(entropy.WorkerQuarantine, "Give a worker no more work because it is not trusted"),
		a.pairCommand(),
		a.revokeWorkerCommand(),
		a.resetIdentityCommand(),
	)
	return a.command(c, func(ctx context.Context, _ []string) error {
		logger, err := a.logger(logLevel)
		if err != nil {
			return err
		}
		conf, err := f.config(logger)
		if err != nil {
			return err
		}
		if data == "" {
			return usagef("--data is empty").WithHint("name a directory, as in --data /var/lib/entropy-worker")
		}
		conf.DataDir, conf.Gossip, conf.NoDiscovery = data, gossip, noDiscovery
		if conf.Server, err = a.workerServer(join, data, noDiscovery, trustLAN); err != nil {
			return err
		}
		if conf.TokenFile, err = a.joinTokenFile(conf.Server); err != nil {
			return err
		}
		if conf.RootCAs, err = fabric.ReadRoots(firstOf(a.global.caFile, a.env("ENTROPY_CA_FILE"))); err != nil {
			return err
		}
		conf.TrustLAN, conf.ShowCode = trustLAN, a.showCode
		return runWorker(ctx, conf)
	})
}

// workerServer returns the control plane's address that a worker is told: by --join,
// --server or the environment, or by a control plane that has its data on this
// host. It is "" when the worker remembers it, or is to look for it.
func (a *app) workerServer(join, data string, noDiscovery, trustLAN bool) (string, error) {
	told := firstOf(a.global.server, a.env("ENTROPY_SERVER"))
	if join == "" && told != "" {
		return told, nil
	}
	if join != "" {
		if a.global.server != "" {
			return "", usagef("--join and --server both name the control plane").WithHint("leave one out")
		}
		if _, _, err := net.SplitHostPort(join); err != nil {
			join = net.JoinHostPort(strings.Trim(join, "[]"), "7600")
		}
		return join, nil
	}
	known := false // by the worker itself, or by a control plane of this host
	for _, file := range []string{filepath.Join(data, identity.MembershipFile), filepath.Join(a.dataDir(), fabric.URLFile)} {
		_, err := os.Stat(file)
		known = known || err == nil
	}
	if token := firstOf(a.global.tokenFile, a.env("ENTROPY_TOKEN_FILE")); noDiscovery || token == "" && !known && !trustLAN {
		return a.server()
	}
	if _, err := os.Stat(filepath.Join(a.dataDir(), fabric.URLFile)); err == nil {
		return a.server()
	}
	return "", nil
}

// runWorker runs a worker until ctx ends.
func runWorker(ctx context.Context, conf fabric.WorkerConfig) error {
	worker, err := fabric.OpenWorker(ctx, conf)
	if err != nil {
		return err
	}
	return unlessStopped(ctx, worker.Run(ctx))
}

// unlessStopped forgives the error of a role that ended because it was asked to.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// joinTokenFile returns the file with the token to join with: the flag's, the
// environment's, or that of a control plane on this host. It is "" when there
// is none: a worker that has joined before needs none.
func (a *app) joinTokenFile(server string) (string, error) {
	if file := firstOf(a.global.tokenFile, a.env("ENTROPY_TOKEN_FILE")); file != "" {
		_, err := readToken(file)
		return file, err
	}
	file := filepath.Join(a.dataDir(), fabric.WorkerTokenFile)
	if _, err := os.Stat(file); err != nil || !onLoopback(server) {
		return "", nil
	}
	return file, nil
}

// supervisorCommand is what a worker starts to hold its jobs' processes.
func (a *app) supervisorCommand() *cobra.Command {
	c := &cobra.Command{Use: "supervisor", Short: "Hold the processes of a worker's jobs", Hidden: true, DisableFlagParsing: true}
	return a.command(c, func(_ context.Context, args []string) error {
		if code := fabric.SupervisorMain(args); code != 0 {
			return outcome{code: code}
		}
		return nil
	})
}
