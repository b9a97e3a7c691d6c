package container

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// The exit codes of podman run, docker run and nerdctl run that mean something
// of their own, as in a shell: the runtime failed, the command could not be
// invoked, the command was not found. A command may end with them as well.
const (
	codeRuntime = 125
	codeInvoke  = 126
	codeMissing = 127
)

// End is all that is known about how a run in a container ended.
type End struct {
	Code     int    // of the client; −1: a signal ended it
	State    *State // of the container, asked for when Ambiguous; nil: there was none
	Unknown  error  // why State could not be asked for
	Said     string // the last line the client wrote to standard error
	NoImage  bool   // the image is not on this machine: asked for when the container never ran
	NotThere error  // why the runtime does not work: asked for when the container never ran
}

// Ambiguous reports whether a client's exit code alone does not say how the
// container ended.
func Ambiguous(code int) bool { return code < 0 || code >= codeRuntime && code <= codeMissing }

// Describe fills in the outcome of a completion.
func (e *End) Describe(c *entropy.Completion) {
	switch {
	case !Ambiguous(e.Code):
		ended(c, e.Code)
	case e.Unknown != nil:
		broken(c, "the container runtime did not say how the container ended: "+e.Unknown.Error())
	case e.State.Started() && e.State.Running:
		broken(c, "the client of the container runtime ended before the container: "+e.Said)
	case e.State.Started():
		ended(c, e.State.ExitCode)
		if e.State.OOMKilled {
			c.Message += "; it had used up the container's memory"
		}
	case e.NotThere != nil:
		broken(c, "no container began: "+e.NotThere.Error())
	default:
		e.neverRan(c)
	}
}

// ended describes a container's program that ran to an end. Runtimes report the
// end by a signal as code 128 + its number, as a shell does, and so does a shell
// in the container about its last command: both are told.
func ended(c *entropy.Completion, code int) {
	c.ExitCode = &code
	if code == 0 {
		c.Outcome = entropy.OutcomeSucceeded
		return
	}
	c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonExit, fmt.Sprintf("exited with code %d", code)
	if name := unix.SignalName(unix.Signal(code - 128)); code > 128 && name != "" {
		c.Signal = name
		c.Message += ", as after " + name
	}
}

// broken describes a failure of this worker, and not of the job.
func broken(c *entropy.Completion, message string) {
	c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, message
}

// neverRan tells the job's faults, which another worker would not cure, from
// this worker's.
func (e *End) neverRan(c *entropy.Completion) {
	said := strings.ToLower(e.Said)
	switch {
	case e.NoImage && contains(said, "connection", "timeout", "timed out", "no such host", "lookup ", "network", "unreachable", "temporar",
		"too many requests", "toomanyrequests", "server error", "bad gateway", "eof", "certificate", "no space", "quota"):
		broken(c, "the image could not be pulled: "+e.Said)
	case e.NoImage:
		c.Outcome, c.Reason, c.Permanent = entropy.OutcomeFailed, entropy.ReasonExit, true
		c.Message = "the image does not exist, or may not be pulled: " + e.Said
	case contains(said, "no command specified", "no command or entrypoint", "no command"):
		c.Outcome, c.Reason, c.Permanent = entropy.OutcomeFailed, entropy.ReasonExit, true
		c.Message = "the job names no command, and its image has none: " + e.Said
	case e.Code != codeRuntime && contains(said, "exec"): // exec: "x": not found; executable file `x` not found; open executable: …
		code := e.Code
		c.Outcome, c.Reason, c.ExitCode, c.Message = entropy.OutcomeFailed, entropy.ReasonExit, &code, e.Said
	default:
		broken(c, "the container runtime could not begin the container: "+e.Said)
	}
}

func contains(s string, any ...string) bool {
	for _, a := range any {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}
