package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves SPEC §12: every code of an error has the exit code that scripts rely on.
func TestExitCodeOfEveryError(t *testing.T) {
	want := map[entropy.Code]int{
		entropy.CodeInvalid: 2, entropy.CodeTooLarge: 2, entropy.CodeNotFound: 3,
		entropy.CodeUnauthorized: 4, entropy.CodeForbidden: 4,
		entropy.CodeConflict: 5, entropy.CodeSuperseded: 5, entropy.CodeStale: 5,
		entropy.CodeInternal: 1, "a code of a later release": 1,
	}
	for code, exit := range want {
		b := newBench(t)
		b.service.errs = []error{fmt.Errorf("read job: %w", entropy.Errorf(code, "it broke").WithHint("mend it"))}
		if got := b.run("job", "x"); got != exit {
			t.Errorf("%s: exit %d, want %d", code, got, exit)
		}
		if got, want := b.stderr.String(), "entropy: read job: it broke\n  next: mend it\n"; got != want {
			t.Errorf("%s: stderr %q, want %q", code, got, want)
		}
	}
	for _, code := range []entropy.Code{entropy.CodeUnavailable, entropy.CodeOverloaded, entropy.CodeUnknown, entropy.CodeDiskFull} {
		b := newBench(t)
		b.service.errs = []error{entropy.Errorf(code, "it is away")}
		if got := b.run("status"); got != 6 {
			t.Errorf("%s: exit %d, want 6", code, got)
		}
	}
	b := newBench(t)
	b.service.errs = []error{errors.New("no code at all")}
	if got := b.run("job", "x"); got != 1 {
		t.Errorf("a plain error: exit %d, want 1", got)
	}
}

// proves I-4, "bad input": a command line that cannot be carried out is exit 2,
// says what is wrong, and asks nothing of the control plane.
func TestUsageErrors(t *testing.T) {
	for line, want := range map[string]string{
		"nonsense":                  `unknown command "nonsense"`,
		"artifacts nonsense":        `unknown command "nonsense"`,
		"worker nonsense":           `unknown command "nonsense"`,
		"jobs extra":                `"extra" is one argument too many`,
		"jobs --state borked":       `--state "borked" is not a state`,
		"jobs --limit 0":            "--limit is 0",
		"jobs --label x":            `--label "x" is not of the form key=value`,
		"jobs -o xml":               `--output is "xml"`,
		"job":                       "a job ID is missing",
		"job ../etc":                "job ID",
		"wait":                      "a job ID is missing",
		"wait --timeout -1s x":      "--timeout is -1s",
		"logs --attempt -1 x":       "not negative",
		"events --after 7":          `"7" is not a position`,
		"events --entity x":         `--entity "x" is not an entity`,
		"events --follow -o json":   "--follow has no end",
		"submit":                    "there is no command",
		"submit --afterward x -- x": "unknown flag: --afterward",
		"submit --env X -- true":    `--env "X" is not of the form`,
		"submit --id .x -- true":    "--id",
		"submit --id a --idempotency-key b -- true": "exclude each other",
		"submit --wait-timeout 3s -- true":          "--wait-timeout needs --wait",
		"submit --priority 101 -- true":             "priority 101",
		"submit --run-timeout -1s -- true":          "--run-timeout is -1s",
		"submit --not-before tomorrow -- true":      `--not-before "tomorrow" is not a time`,
		"submit --cwd here -- true":                 "not an absolute path",
		"submit --disconnect maybe -- true":         "continue or stop",
		"submit --handler h --payload {":            "--payload is not JSON",
		"submit --handler h -- true":                "exclude each other",
		"submit --input /does/not/exist -- true":    "--input /does/not/exist",
		"submit --input /dev/null -- true":          "neither a file nor a directory",
		"submit --artifact ../x -- true":            "leaves the working directory",
		"submit --no-retry --max-attempts 3 -- x":   "excludes",
		"worker --slots 0":                          "--slots is 0",
		"worker --slots 99999":                      "--slots is 99999",
		"worker --name a/b":                         "worker name",
		"worker --label =x":                         "not of the form",
		"worker --log-level loud":                   "--log-level",
		"worker drain":                              "a worker's name is missing",
		"worker drain a/b":                          "worker name",
		"control --listen here":                     `--listen "here" is not an address`,
		"control --lease-ttl -1s":                   "--lease-ttl is -1s",
		"up --slots -3":                             "--slots is -3",
		"up --listen 7600":                          "--listen",
	} {
		b := newBench(t)
		if got := b.run(strings.Fields(line)...); got != 2 {
			t.Errorf("%s: exit %d, want 2 (%s)", line, got, b.stderr.String())
		}
		if !strings.Contains(b.stderr.String(), want) || !strings.HasPrefix(b.stderr.String(), "entropy: ") {
			t.Errorf("%s: stderr %q, want %q in it", line, b.stderr.String(), want)
		}
		if b.stdout.Len() > 0 || len(b.service.calls) > 0 {
			t.Errorf("%s: stdout %q, calls %q, want nothing", line, b.stdout.String(), b.service.calls)
		}
	}
}
