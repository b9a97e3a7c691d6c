package main

import (
	"bytes"
	"encoding/json"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin/all"
)

// readExecutors reads what the control plane executes itself; "" means nothing
// beside commands about its jobs and workers. Unknown keys are errors.
func readExecutors(file string) (all.Config, error) {
	var c all.Config
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return c, usagef("--executors: %v", err)
	}
	var tree any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		return c, usagef("--executors %s: %v", file, err)
	}
	text, err := json.Marshal(tree) // the settings are the executors' own, by their JSON names
	if err != nil {
		return c, usagef("--executors %s: %v", file, err).WithHint("keys are text")
	}
	if c, err = all.Read(bytes.NewReader(text)); err != nil {
		return c, usagef("--executors %s: %v", file, err).WithHint("docs/EXECUTORS.md has every setting")
	}
	return c, nil
}
