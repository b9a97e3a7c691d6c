package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// proves that docs/CLI.md says what the commands say, whatever machine wrote it.
func TestTheReferenceIsFresh(t *testing.T) {
	b := newBench(t)
	if code := b.run("docs"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	file := filepath.Join("..", "..", "docs", "CLI.md")
	if *rewrite {
		if err := os.WriteFile(file, b.stdout.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != b.stdout.String() {
		t.Error("docs/CLI.md differs from the commands; run make generate")
	}
}

// proves SPEC §12: every command and flag of the contract that this release
// offers is there, and says what it is for.
func TestTheCommandsOfTheContract(t *testing.T) {
	root := newBench(t).app.root()
	for path, flags := range map[string]string{
		"up":                "data listen slots",
		"control":           "data listen",
		"worker":            "data name slots label",
		"worker drain":      "",
		"worker resume":     "",
		"worker quarantine": "",
		"submit": "id idempotency-key name queue tenant priority max-attempts no-retry run-timeout queue-timeout not-before require" +
			" input artifact env cwd label wait wait-timeout disconnect handler payload",
		"wait":          "timeout",
		"jobs":          "state queue label limit cursor",
		"job":           "",
		"logs":          "follow stderr attempt",
		"cancel":        "",
		"retry":         "",
		"artifacts ls":  "",
		"artifacts get": "output-dir",
		"workers":       "",
		"events":        "follow after entity type",
		"status":        "",
		"verify":        "",
		"version":       "",
		"supervisor":    "",
	} {
		c, rest, err := root.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			t.Errorf("there is no command %s: %v", path, err)
			continue
		}
		for _, f := range strings.Fields(flags) {
			if c.Flags().Lookup(f) == nil {
				t.Errorf("%s has no flag --%s", path, f)
			}
		}
	}
	for _, f := range []string{"server", "token-file", "ca-file", "output"} {
		if root.PersistentFlags().Lookup(f) == nil {
			t.Errorf("there is no flag --%s", f)
		}
	}
	everyCommand(root, func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its one line is %q", c.CommandPath(), c.Short)
		}
	})
}

func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, f)
	}
}
