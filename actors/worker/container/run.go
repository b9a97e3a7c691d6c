package container

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// The labels of every container that a worker began.
const (
	LabelSpool      = "io.entropy.spool"      // of the worker, random: no other worker has it
	LabelSupervisor = "io.entropy.supervisor" // the process that began it
	LabelAssignment = "io.entropy.assignment"
)

// Run says what is to be run.
type Run struct {
	Name    string   // of the container, unique on this machine; see Name
	Image   string   // a valid reference
	Command []string // arguments of the image's entry point, or the command if it has none; empty means the image's own
	Env     []Variable
	Workdir string // in the container
	Mounts  []Mount
	Labels  map[string]string
	IDFile  string // does not exist yet; see Created
}

// Variable is one of a container's environment.
type Variable struct{ Name, Value string }

// Mount makes a directory of the machine appear in the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Name returns the name of an assignment's container.
func Name(assignment string) string { return "entropy-" + assignment }

// Run returns the command line of a client that begins a container, stays as
// long as it runs, passes signals on to it, copies its output and ends with its
// exit code. Environ is the client's environment: the worker's own, and the
// container's variables, which the command line only names.
func (r *Runtime) Run(c *Run, worker []string) (argv, environ []string) {
	argv = []string{r.Program, "run", "--name", c.Name, "--pull=missing", "--stop-timeout=0"}
	if r.Kind != Nerdctl { // the output is kept by the worker; on SELinux, its files would be closed to the container
		argv = append(argv, "--log-driver=none", "--security-opt=label=disable")
	}
	if r.Kind == Docker {
		argv = append(argv, "--cidfile="+c.IDFile)
	}
	if !r.operator("--network", "--net") {
		argv = append(argv, "--network=host")
	}
	if !r.operator("--user", "-u") {
		argv = append(argv, "--user="+r.User)
	}
	for _, k := range sortedKeys(c.Labels) {
		argv = append(argv, "--label="+k+"="+c.Labels[k])
	}
	for _, m := range c.Mounts {
		argv = append(argv, "--mount="+m.flag())
	}
	argv = append(argv, "--workdir="+c.Workdir)
	environ = slices.Clone(worker)
	for _, v := range c.Env {
		if forClient(v.Name) {
			argv = append(argv, "--env="+v.Name+"="+v.Value)
			continue
		}
		argv = append(argv, "--env="+v.Name)
		environ = set(environ, v)
	}
	argv = append(argv, r.Args...)
	return append(append(argv, c.Image), c.Command...), environ
}

// Created reports whether a run whose client has ended may have made a container
// that runs. Docker's client notes the container's id before it asks the daemon
// to start it: without the note nothing runs, and no daemon need be asked, which
// may be down. The other clients begin their containers themselves.
func (r *Runtime) Created(c *Run) bool {
	if r.Kind != Docker {
		return true
	}
	fi, err := os.Stat(c.IDFile)
	return !errors.Is(err, fs.ErrNotExist) && (err != nil || fi.Size() > 0)
}

// operator reports whether the operator's arguments set a flag.
func (r *Runtime) operator(names ...string) bool {
	return slices.ContainsFunc(r.Args, func(a string) bool {
		name, _, _ := strings.Cut(a, "=")
		return slices.Contains(names, name)
	})
}

// flag returns the mount as the value of --mount, which is one line of CSV.
func (m Mount) flag() string {
	fields := []string{"type=bind", "source=" + m.Source, "target=" + m.Target}
	if m.ReadOnly {
		fields = append(fields, "readonly")
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// set replaces a variable of an environment, or adds it.
func set(environ []string, v Variable) []string {
	i := slices.IndexFunc(environ, func(e string) bool { return strings.HasPrefix(e, v.Name+"=") })
	if i < 0 {
		return append(environ, v.Name+"="+v.Value)
	}
	environ[i] = v.Name + "=" + v.Value
	return environ
}

// clientPrefixes are the variables that a runtime's client, its libraries or the
// dynamic linker would take for their own.
var clientPrefixes = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LD_", "GLIBC_", "MALLOC_", "LC_", "LANG", "TERM", "COLUMNS",
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR", "GORACE", "XDG_", "DBUS_", "NOTIFY_", "LISTEN_", "SSL_CERT", "SSH_A",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "ftp_proxy",
	"DOCKER", "BUILDAH", "BUILDKIT", "MOBY", "OTEL_", "PODMAN", "CONTAINER", "_CONTAINER", "REGISTRY", "STORAGE_", "NERDCTL", "CNI_", "NETAVARK", "CRUN_", "RUNC_", "_OCI"}

// forClient reports whether the client itself would obey a variable of the
// container. Such a one is given on the command line, so that it reaches only
// the container.
func forClient(name string) bool {
	return slices.ContainsFunc(clientPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
