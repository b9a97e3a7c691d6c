package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// errChanged ends a session whose registration no longer describes the node.
var errChanged = errors.New("the worker has changed")

// runtime returns what runs the node's container images now, or nil.
func (n *Node) runtime() *container.Runtime {
	if n.exec == nil {
		return nil
	}
	return n.exec.runtime()
}

func (n *Node) wantsRuntime() bool {
	return n.exec != nil && n.conf.ContainerRuntime != "" && n.conf.ContainerRuntime != container.None
}

// startTimeout bounds how long a node's start waits for a container runtime. One
// that answers later is found by watchRuntime.
const startTimeout = 5 * time.Second

// firstRuntime looks for the container runtime when the node starts.
func (n *Node) firstRuntime(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if !n.findRuntime(ctx) && n.wantsRuntime() && n.conf.ContainerRuntime != container.Auto {
		n.log.Warn("the container runtime does not answer; jobs with an image are not taken until it does", slog.String("runtime", n.conf.ContainerRuntime))
	}
}

// findRuntime looks which container runtime works and reports whether that is
// another than before.
func (n *Node) findRuntime(ctx context.Context) (changed bool) {
	if !n.wantsRuntime() {
		return false
	}
	found, err := container.Find(ctx, n.conf.ContainerRuntime, n.conf.ContainerArgs, container.Command)
	if ctx.Err() != nil || found.Equal(n.exec.images.Load()) {
		return false
	}
	n.exec.images.Store(found)
	switch {
	case found != nil:
		n.log.Info("container images can be run", slog.String("runtime", found.Kind), slog.String("program", found.Program), slog.String("user", found.User))
	default:
		n.log.Warn("container images can no longer be run", slog.Any("cause", err))
	}
	return true
}

// watchRuntime looks for a container runtime again and again. When one has come
// or gone the node registers again, so that the fabric knows what to offer it.
func (s *session) watchRuntime() {
	if !s.n.wantsRuntime() {
		return
	}
	tick := time.NewTicker(s.n.conf.probe)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		if s.n.findRuntime(s.ctx) {
			s.end(errChanged)
			return
		}
	}
}
