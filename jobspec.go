package entropy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// SpecHash returns the SHA-256 of the spec's JSON, hex: what makes two
// submissions with one ID the same or a conflict.
func (s *JobSpec) SpecHash() (string, error) {
	b, err := encodeSpec(s)
	if err != nil {
		return "", Errorf(CodeInvalid, "the job spec is not valid JSON: %v", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// Validate reports everything that is wrong with s, in one [Error].
func (s *JobSpec) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	s.validateWork(bad)
	s.validatePlace(bad)
	s.validateFiles(bad)
	s.validateTime(bad)
	s.validateCheckpoint(bad)
	if len(problems) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "job spec: %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

type report func(format string, args ...any)

func (s *JobSpec) validateWork(bad report) {
	switch {
	case len(s.Command) == 0 && s.Handler == "" && s.Image == "": // an image has a command of its own
		bad("there is no command; give one, as in: entropy submit -- echo hello")
	case len(s.Command) > 0 && s.Handler != "":
		bad("command and handler exclude each other")
	case len(s.Command) > 0 && s.Command[0] == "":
		bad("command[0] is empty")
	}
	if len(s.Command) > MaxArgs {
		bad("command has %d arguments, at most %d are allowed", len(s.Command), MaxArgs)
	}
	size := 0
	for i, a := range s.Command {
		size += len(a) + 1
		if strings.IndexByte(a, 0) >= 0 || !utf8.ValidString(a) {
			bad("command[%d] holds a NUL byte or is not UTF-8", i)
		}
	}
	for k, v := range s.Env {
		size += len(k) + len(v) + 2
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.IndexByte(v, 0) >= 0 || !utf8.ValidString(k) || !utf8.ValidString(v) {
			bad("env %q is not a valid variable of UTF-8 text", k)
		}
	}
	if size > MaxCommandSize {
		bad("command and env have %d bytes, at most %d are allowed; ship large data with --input", size, MaxCommandSize)
	}
	if s.Handler != "" {
		s.id(bad, "handler", s.Handler)
	}
	s.validateImage(bad)
	if len(s.Payload) > MaxPayload {
		bad("payload has %d bytes, at most %d are allowed; ship large data with --input", len(s.Payload), MaxPayload)
	}
	if len(s.Name) > 256 || !utf8.ValidString(s.Name) {
		bad("name must be UTF-8 of at most 256 bytes")
	}
}

// imageReference is the grammar of an OCI image reference: a registry's host, a
// path, a tag, a digest. Source: github.com/distribution/reference, regexp.go.
var imageReference = regexp.MustCompile(`^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?/)?` +
	`[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*` +
	`(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,})?$`)

func (s *JobSpec) validateImage(bad report) {
	switch {
	case s.Image == "":
	case s.Handler != "":
		bad("image and handler exclude each other: a Go handler runs in the worker's own process")
	case len(s.Image) > MaxImage || !imageReference.MatchString(s.Image):
		bad("image %q is not an image reference of at most %d bytes, as in docker.io/library/python:3.13", cut(s.Image), MaxImage)
	case s.Cwd == "/":
		bad("an image has its own root directory, so cwd cannot be /; name the directory that the job needs")
	}
}

func (s *JobSpec) id(bad report, kind, v string) {
	if err := ValidateID(kind, v); err != nil {
		bad("%w", err)
	}
}

func (s *JobSpec) validatePlace(bad report) {
	if s.Queue != "" {
		s.id(bad, "queue", s.Queue)
	}
	if s.Tenant != "" {
		s.id(bad, "tenant", s.Tenant)
	}
	if s.Priority < MinPriority || s.Priority > MaxPriority {
		bad("priority %d is not in %d to %d", s.Priority, MinPriority, MaxPriority)
	}
	validateLabels(bad, "labels", s.Labels)
	validateLabels(bad, "require", s.Require)
	s.validateNeeds(bad)
	switch s.Disconnect.Worker {
	case "", DisconnectContinue, DisconnectStop:
	default:
		bad("disconnect.worker is %q; it is continue or stop", s.Disconnect.Worker)
	}
	switch s.Disconnect.LateResult {
	case "", LateAccept, LateDiscard:
	default:
		bad("disconnect.late_result is %q; it is accept or discard", s.Disconnect.LateResult)
	}
}

// validateNeeds checks what the job asks of the fleet beyond labels.
func (s *JobSpec) validateNeeds(bad report) {
	if len(s.AnyOf) > MaxAlternatives {
		bad("any_of has %d alternatives, at most %d are allowed", len(s.AnyOf), MaxAlternatives)
	}
	validateResources(bad, "resources", s.Resources)
	for i, alt := range s.AnyOf {
		validateLabels(bad, fmt.Sprintf("any_of[%d].require", i), alt.Require)
		validateResources(bad, fmt.Sprintf("any_of[%d].resources", i), alt.Resources)
	}
	if s.ConcurrencyKey != "" {
		s.id(bad, "concurrency_key", s.ConcurrencyKey)
		if s.Disconnect.Worker != DisconnectStop {
			bad("concurrency_key needs disconnect.worker stop: a job that runs on while it is cut off cannot keep others of its key from running")
		}
	}
	if s.Preemptible && s.Retry.NoRetry {
		bad("preemptible and retry.no_retry exclude each other")
	}
	if len(s.After) > MaxAfter {
		bad("after names %d jobs, at most %d are allowed; group them in an array", len(s.After), MaxAfter)
	}
	for i, d := range s.After {
		s.id(bad, fmt.Sprintf("after[%d].job", i), string(d.Job))
		if d.On != "" && d.On != OnSuccess && d.On != OnEnd {
			bad("after[%d].on is %q; it is success or end", i, d.On)
		}
	}
	if s.Array != nil && (ValidateID("array", string(s.Array.Of)) != nil || s.Array.Index < 0) {
		bad("array must name an array and an index of at least 0")
	}
}

func validateLabels(bad report, what string, m map[string]string) {
	if len(m) > MaxLabels {
		bad("%s has %d entries, at most %d are allowed", what, len(m), MaxLabels)
	}
	for k, v := range m {
		if k == "" || len(k) > 128 || len(v) > 256 || !utf8.ValidString(k) || !utf8.ValidString(v) || strings.ContainsAny(k, "=\x00") || strings.IndexByte(v, 0) >= 0 {
			bad("%s: %q is not a valid label", what, k)
		}
	}
}

func (s *JobSpec) validateFiles(bad report) {
	if s.Cwd != "" && (!path.IsAbs(s.Cwd) || strings.IndexByte(s.Cwd, 0) >= 0 || !utf8.ValidString(s.Cwd)) {
		bad("cwd %q is not an absolute path at the worker", s.Cwd)
	}
	if len(s.Inputs) > MaxInputs {
		bad("there are %d inputs, at most %d are allowed; ship an archive instead", len(s.Inputs), MaxInputs)
	}
	seen := make(map[string]bool, len(s.Inputs))
	for _, in := range s.Inputs {
		if !LocalPath(in.Path) || seen[in.Path] {
			bad("input path %q is not a unique relative path", in.Path)
		}
		if in.Dir && (in.SHA256 != "" || in.Size != 0 || in.Mode != 0) {
			bad("input %q is an empty directory, and has no sha256, size or mode", in.Path)
		}
		if !in.Dir && !ValidSHA256(in.SHA256) || in.Size < 0 || in.Mode&^0o777 != 0 {
			bad("input %q has no valid sha256, size or mode", in.Path)
		}
		seen[in.Path] = true
	}
	if len(s.Artifacts) > MaxGlobs {
		bad("there are %d artifact globs, at most %d are allowed", len(s.Artifacts), MaxGlobs)
	}
	for _, g := range s.Artifacts {
		if _, err := path.Match(g, ""); err != nil || !LocalPath(g) {
			bad("artifact glob %q is malformed or leaves the working directory", g)
		}
	}
}

func (s *JobSpec) validateTime(bad report) {
	for _, d := range []struct {
		name  string
		value Duration
	}{
		{"run_timeout", s.RunTimeout}, {"ack_timeout", s.AckTimeout}, {"queue_timeout", s.QueueTimeout}, {"grace", s.Grace},
		{"retry.lost_timeout", s.Retry.LostTimeout}, {"retry.backoff", s.Retry.Backoff}, {"retry.backoff_cap", s.Retry.BackoffCap},
		{"disconnect.reassign_after", s.Disconnect.ReassignAfter},
	} {
		if d.value < 0 || d.value.D() > 10*365*24*time.Hour {
			bad("%s is %s; it must lie between 0 and ten years", d.name, d.value)
		}
	}
	if s.Retry.MaxAttempts < 0 || s.Retry.MaxAttempts > 10_000 || s.Retry.MaxLosses < 0 || s.Retry.MaxLosses > 10_000 {
		bad("retry.max_attempts and retry.max_losses must lie between 0 and 10,000")
	}
	if s.Retry.NoRetry && s.Retry.MaxAttempts > 1 {
		bad("retry.no_retry excludes retry.max_attempts %d", s.Retry.MaxAttempts)
	}
	if s.NotBefore != nil && s.NotAfter != nil && !s.NotAfter.After(*s.NotBefore) {
		bad("not_after is not later than not_before")
	}
}

// LocalPath reports whether p is a clean relative slash-separated path that
// stays below where it starts.
func LocalPath(p string) bool {
	return p != "" && len(p) <= 4096 && !path.IsAbs(p) && path.Clean(p) == p && p != "." && p != ".." &&
		!strings.HasPrefix(p, "../") && !strings.ContainsAny(p, "\x00\n\r") && utf8.ValidString(p)
}

// ValidSHA256 reports whether s is a SHA-256 in lower-case hex.
func ValidSHA256(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
