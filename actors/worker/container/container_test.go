package container_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
)

func run() *container.Run {
	return &container.Run{Name: container.Name("a"), Image: "python:3", Command: []string{"-c", "--network=evil"}, Workdir: "/entropy/work", IDFile: "/w/container",
		Env:    []container.Variable{{"TOKEN", "se=cret\n2"}, {"PATH", "/mine"}, {"LD_PRELOAD", "x.so"}, {"DOCKER_HOST", "tcp://evil"}},
		Mounts: []container.Mount{{Source: `/a,b "c"`, Target: "/entropy/input", ReadOnly: true}, {Source: "/w", Target: "/entropy/work"}},
		Labels: map[string]string{container.LabelSpool: "s"}}
}

// proves W-6, S-4: a job's variables reach the container and not the client, and
// their values are on no command line unless the client would obey them; what
// follows the image is never a flag.
func TestRunCommandLine(t *testing.T) {
	for _, kind := range []string{container.Podman, container.Docker, container.Nerdctl} {
		r := container.Runtime{Kind: kind, Program: "/bin/" + kind, User: "7:8"}
		worker := []string{"PATH=/usr/bin", "TOKEN=of the worker", "HOME=/root"}
		argv, env := r.Run(run(), worker)
		if want := []string{"python:3", "-c", "--network=evil"}; !slices.Equal(argv[len(argv)-3:], want) {
			t.Errorf("%s: %q does not end with %q", kind, argv, want)
		}
		for _, want := range []string{"--env=TOKEN", "--env=PATH=/mine", "--env=LD_PRELOAD=x.so", "--env=DOCKER_HOST=tcp://evil", "--user=7:8", "--network=host", "--pull=missing",
			`--mount=type=bind,"source=/a,b ""c""",target=/entropy/input,readonly`, "--mount=type=bind,source=/w,target=/entropy/work", "--label=io.entropy.spool=s"} {
			if !slices.Contains(argv, want) {
				t.Errorf("%s: %q lacks %s", kind, argv, want)
			}
		}
		slices.Sort(env)
		if want := []string{"HOME=/root", "PATH=/usr/bin", "TOKEN=se=cret\n2"}; !slices.Equal(env, want) {
			t.Errorf("%s: the client's environment is %q", kind, env)
		}
		if strings.Contains(strings.Join(argv, " "), "cret") || worker[1] != "TOKEN=of the worker" {
			t.Errorf("%s: a secret is on the command line, or the worker's environment has changed", kind)
		}
	}
}

// proves W-6: the operator's choice of network and user replaces the worker's.
func TestOperatorArguments(t *testing.T) {
	r := container.Runtime{Kind: container.Podman, Program: "podman", User: "0:0", Args: []string{"--network=none", "-u=5", "--init"}}
	argv, _ := r.Run(run(), nil)
	text := strings.Join(argv, " ")
	if strings.Contains(text, "--network=host") || strings.Contains(text, "--user=") || !strings.Contains(text, " --network=none -u=5 --init python:3 ") {
		t.Error(text)
	}
}

// proves W-6: docker's note of a container is the word on whether one can run.
func TestCreated(t *testing.T) {
	c := run()
	c.IDFile = filepath.Join(t.TempDir(), "container")
	docker, podman := container.Runtime{Kind: container.Docker}, container.Runtime{Kind: container.Podman}
	if docker.Created(c) || !podman.Created(c) {
		t.Error("no note was made")
	}
	if err := os.WriteFile(c.IDFile, []byte("id"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !docker.Created(c) {
		t.Error("a note was made")
	}
}

// proves W-6, J-6: what an end means is decided by what is known, and not by the
// client's exit code alone.
func TestDescribe(t *testing.T) {
	ran := func(code int) *container.State {
		return &container.State{Status: "exited", ExitCode: code, StartedAt: time.Unix(1, 0)}
	}
	killed := ran(137)
	killed.OOMKilled = true
	cases := []struct {
		name      string
		end       container.End
		reason    entropy.Reason // "": it succeeded
		code      int            // −1: none
		signal    string
		permanent bool
	}{
		{"success", container.End{Code: 0}, "", 0, "", false},
		{"failure", container.End{Code: 3}, entropy.ReasonExit, 3, "", false},
		{"signal", container.End{Code: 143}, entropy.ReasonExit, 143, "SIGTERM", false},
		{"no signal", container.End{Code: 255}, entropy.ReasonExit, 255, "", false},
		{"its own 125", container.End{Code: 125, State: ran(125)}, entropy.ReasonExit, 125, "", false},
		{"client killed, container ended well", container.End{Code: -1, State: ran(0)}, "", 0, "", false},
		{"memory", container.End{Code: -1, State: killed}, entropy.ReasonExit, 137, "SIGKILL", false},
		{"client killed", container.End{Code: -1, State: &container.State{Running: true, StartedAt: time.Unix(1, 0)}}, entropy.ReasonWorkerError, -1, "", false},
		{"not told", container.End{Code: 125, Unknown: errors.New("hangs")}, entropy.ReasonWorkerError, -1, "", false},
		{"down", container.End{Code: 125, NotThere: errors.New("down")}, entropy.ReasonWorkerError, -1, "", false},
		{"unknown image", container.End{Code: 125, NoImage: true, Said: "manifest unknown"}, entropy.ReasonExit, -1, "", true},
		{"registry away", container.End{Code: 125, NoImage: true, Said: "Get https://r/v2: dial tcp: Connection refused"}, entropy.ReasonWorkerError, -1, "", false},
		{"no command", container.End{Code: 125, Said: "docker: Error response from daemon: No command specified."}, entropy.ReasonExit, -1, "", true},
		{"crun, missing", container.End{Code: 127, Said: "Error: crun: executable file `x` not found in $PATH: No such file or directory"}, entropy.ReasonExit, 127, "", false},
		{"runc, denied", container.End{Code: 126, Said: `Error: runc: exec: "/etc": permission denied`}, entropy.ReasonExit, 126, "", false},
		{"limits", container.End{Code: 126, Said: "Error: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted"}, entropy.ReasonWorkerError, -1, "", false},
	}
	for _, c := range cases {
		var got entropy.Completion
		c.end.Describe(&got)
		code := -1
		if got.ExitCode != nil {
			code = *got.ExitCode
		}
		outcome := entropy.OutcomeFailed
		if c.reason == "" {
			outcome = entropy.OutcomeSucceeded
		}
		if got.Outcome != outcome || got.Reason != c.reason || code != c.code || got.Signal != c.signal || got.Permanent != c.permanent || (c.reason != "") != (got.Message != "") {
			t.Errorf("%s: %+v (code %d)", c.name, got, code)
		}
	}
}

func TestLastLine(t *testing.T) { // proves W-6: docker's advice is not its message
	for text, want := range map[string]string{"": "", "a\nb\n\n": "b", "docker: no\n\nRun 'docker run --help' for more information\n": "docker: no", "docker: no.\nSee 'docker run --help'.\n": "docker: no.",
		"docker: no.\ntime=\"t\" level=error msg=\"context canceled\"\n": "docker: no.", "time=\"t\" level=fatal msg=no\n": "time=\"t\" level=fatal msg=no", "time=\"t\" level=error msg=x": "time=\"t\" level=error msg=x"} {
		if got := container.LastLine(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
