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
	resources := entropy.Resources{entropy.ResourceCPU: entropy.Amount(runtime.NumCPU()) * entropy.Unit}
	if mem := memory(); mem > 0 {
		resources[entropy.ResourceMemory] = entropy.Amount(mem) * entropy.Unit
	}
	if models := gpus(); len(models) > 0 {
		resources[entropy.ResourceGPU] = entropy.Amount(len(models)) * entropy.Unit
		labels["gpu"] = models[0]
	}
	maps.Copy(labels, n.conf.Labels)
	return entropy.Registration{Nonce: entropy.NewID(), KeyHash: n.conf.KeyHash, BootID: n.conf.bootID, SpoolID: n.spoolID(),
		Hostname: host, Version: n.conf.Version, Slots: n.conf.Slots, Labels: labels, Resources: resources,
		Handlers: slices.Sorted(maps.Keys(n.conf.Handlers))}
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
