package container

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// answerTimeout bounds one question to a runtime. A removal may have to wait for
// a busy disk.
const answerTimeout = 30 * time.Second

// Client asks a runtime about containers, through Exec. Its methods may be
// called from any goroutine. Their errors mean that the runtime did not answer,
// or could not do it: nothing is known then.
type Client struct {
	Runtime *Runtime
	Exec    Exec
}

// State is what a runtime knows of a container.
type State struct {
	Status    string
	Running   bool
	ExitCode  int
	OOMKilled bool
	Error     string
	StartedAt time.Time
}

// Started reports whether the container's program ever ran.
func (s *State) Started() bool { return s != nil && s.StartedAt.Year() > 1 }

func (c *Client) ask(ctx context.Context, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.Exec(ctx, append([]string{c.Runtime.Program}, args...))
}

// Works returns why the runtime does not work, or nil.
func (c *Client) Works(ctx context.Context) error {
	r := *c.Runtime
	return r.probe(ctx, c.Exec)
}

// State returns what became of a container, or nil if there is none.
func (c *Client) State(ctx context.Context, name string) (*State, error) {
	out, err := c.ask(ctx, "container", "inspect", "--format", "{{json .State}}", name)
	if err != nil {
		return nil, err
	}
	s := new(State)
	if out.Code == 0 && json.Unmarshal([]byte(out.Stdout), s) == nil {
		return s, nil
	}
	names, err := c.list(ctx, "name=^"+strings.ReplaceAll(name, ".", `\.`)+"$")
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("ask %s about container %s: %s", c.Runtime.Kind, name, LastLine(out.Stderr))
	}
	return nil, nil
}

// HasImage reports whether an image is on this machine.
func (c *Client) HasImage(ctx context.Context, image string) (bool, error) {
	out, err := c.ask(ctx, "image", "inspect", "--format", "{{.Id}}", image)
	return out.Code == 0, err
}

// Remove ends every container with a label's value and removes it, stopped ones
// as well. It returns nil only when the runtime has confirmed that there is none.
func (c *Client) Remove(ctx context.Context, label, value string) error {
	filter := "label=" + label + "=" + value
	ids, err := c.list(ctx, filter)
	if err != nil || len(ids) == 0 {
		return err
	}
	out, err := c.ask(ctx, append([]string{"rm", "--force", "--volumes"}, ids...)...)
	if err != nil {
		return err
	}
	if ids, err = c.list(ctx, filter); err != nil || len(ids) == 0 {
		return err
	}
	return fmt.Errorf("%s still has %d containers: %s", c.Runtime.Kind, len(ids), LastLine(out.Stderr))
}

// list returns the containers that a filter finds, stopped ones as well.
func (c *Client) list(ctx context.Context, filter string) ([]string, error) {
	out, err := c.ask(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", filter)
	if err != nil {
		return nil, err
	}
	if out.Code != 0 {
		return nil, fmt.Errorf("list the containers of %s: %s", c.Runtime.Kind, LastLine(out.Stderr))
	}
	return strings.Fields(out.Stdout), nil
}

// Discard ends and removes the container of one assignment. Nil means what it
// means for Remove.
func (c *Client) Discard(ctx context.Context, assignment string) error {
	out, err := c.ask(ctx, "rm", "--force", "--volumes", Name(assignment))
	if err == nil && out.Code == 0 {
		return nil
	}
	return c.Remove(ctx, LabelAssignment, assignment)
}
