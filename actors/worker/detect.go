package worker

import (
	"bufio"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// describe returns what the node tells the fabric about itself and its machine.
func (n *Node) describe() entropy.Registration {
	host, _ := os.Hostname()
	labels := map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH}
	if models := gpus(); len(models) > 0 {
		labels["gpu"] = models[0]
	}
	maps.Copy(labels, n.conf.Labels)
	delete(labels, entropy.LabelContainer) // only what was found counts
	if r := n.runtime(); r != nil {
		labels[entropy.LabelContainer] = r.Kind
	}
	return entropy.Registration{Nonce: entropy.NewID(), KeyHash: n.conf.KeyHash, BootID: n.conf.bootID, SpoolID: n.spoolID(),
		Hostname: host, Version: n.conf.Version, Slots: n.conf.Slots, Labels: labels, Resources: n.resources(),
		Handlers: slices.Sorted(maps.Keys(n.conf.Handlers))}
}

// resources returns what the node has to give: what is detected, and in its place
// or beside it what is configured.
func (n *Node) resources() entropy.Resources {
	r := entropy.Resources{entropy.ResourceCPU: entropy.Amount(runtime.NumCPU()) * entropy.Unit,
		entropy.ResourceMemory: entropy.Amount(memory()) * entropy.Unit, entropy.ResourceGPU: entropy.Amount(len(gpus())) * entropy.Unit}
	maps.Copy(r, n.conf.Resources)
	maps.DeleteFunc(r, func(_ string, a entropy.Amount) bool { return a == 0 })
	return r
}

// spoolID returns the id of the commands' spool, or of the handlers' where the
// node runs no commands. Every completion names its own.
func (n *Node) spoolID() string { return n.executors()[0].spoolID() }

// memory returns the machine's memory in bytes, or 0 if it is not known.
func memory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// gpus returns the models of the machine's NVIDIA GPUs, as "nvidia-h100-pcie".
func gpus() []string {
	files, _ := filepath.Glob("/proc/driver/nvidia/gpus/*/information")
	var models []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "Model:"); ok {
				models = append(models, strings.ToLower(strings.Join(strings.Fields(v), "-")))
			}
		}
	}
	return models
}
