package entropy

import (
	"strings"
	"testing"
)

// proves W-6: an image is a reference and nothing else, and never a flag of the
// program that it is given to; it stands beside a command, not beside a handler.
func TestImage(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, ok := range map[string]bool{
		"python": true, "python:3.13": true, "docker.io/library/python:3.13": true, "localhost:5000/team/a_b/c--d:v1.0-rc.1": true,
		"ghcr.io/x/y" + digest: true, "ghcr.io/x/y:1" + digest: true, "[::1]:5000/x": true, "REGISTRY.example/x": true, strings.Repeat("0a", 32): true,
		"--privileged": false, "-v": false, "a b": false, "a\nb": false, "a;b": false, "../x": false, "/etc": false, "UPPER": false, "x:": false, "x:-a": false,
		"x@sha256:12": false, "docker-archive:/tmp/x": false, "a//b": false, "x" + strings.Repeat("/x", 300): false,
	} {
		spec := JobSpec{Image: image}
		if err := spec.Validate(); (err == nil) != ok {
			t.Errorf("image %q: %v", image, err)
		}
		spec.Command = []string{"x"}
		if err := spec.Validate(); (err == nil) != ok {
			t.Errorf("image %q with a command: %v", image, err)
		}
	}
	for name, spec := range map[string]JobSpec{"handler": {Image: "x", Handler: "h"}, "root": {Image: "x", Cwd: "/"}, "empty": {Image: "x", Command: []string{""}}} {
		if spec.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// proves W-6, J-9: a job with an image is offered only to workers that run images.
func TestImageNeedsRuntime(t *testing.T) {
	plain, runs := Worker{Labels: map[string]string{"os": "linux"}}, Worker{Labels: map[string]string{"os": "linux", LabelContainer: "podman"}}
	spec := JobSpec{Image: "x", Require: map[string]string{"os": "linux"}}
	if plain.Offers(&spec) || !runs.Offers(&spec) {
		t.Errorf("offered by %t and %t", plain.Offers(&spec), runs.Offers(&spec))
	}
	spec.AnyOf = []Need{{Require: map[string]string{"os": "linux"}}}
	if plain.Offers(&spec) || !runs.Offers(&spec) {
		t.Errorf("with alternatives, offered by %t and %t", plain.Offers(&spec), runs.Offers(&spec))
	}
	spec.Image = ""
	if !plain.Offers(&spec) {
		t.Error("a job without an image is not offered")
	}
}
