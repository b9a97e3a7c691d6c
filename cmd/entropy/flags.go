package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// keyValues reads repeated k=v flags. The last of equal keys wins.
func keyValues(flag string, pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usagef("--%s %q is not of the form key=value", flag, p).WithHint("write it as in --%s key=value", flag)
		}
		m[k] = v
	}
	return m, nil
}

// jobStates reads the names of states, separated by commas or given repeatedly.
func jobStates(names []string) ([]entropy.State, error) {
	var states []entropy.State
	for _, n := range names {
		s := entropy.State(n)
		if !slices.Contains(entropy.States, s) {
			return nil, usagef("--state %q is not a state", n).WithHint("it is one of %s", joinStates())
		}
		states = append(states, s)
	}
	return states, nil
}

func joinStates() string {
	names := make([]string, len(entropy.States))
	for i, s := range entropy.States {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// moment reads a point in time: RFC 3339, or a duration from now.
func moment(flag, s string, now time.Time) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		t := now.Add(d).UTC()
		return &t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, usagef("--%s %q is not a time", flag, s).WithHint("write RFC 3339 as in 2026-11-20T16:42:00Z, or a duration from now as in 90s")
	}
	t = t.UTC()
	return &t, nil
}

// notNegative refuses durations below zero. The pairs are flag names and values.
func notNegative(flags map[string]time.Duration) error {
	for _, name := range sortedKeys(flags) {
		if flags[name] < 0 {
			return usagef("--%s is %s", name, flags[name]).WithHint("a duration is not negative, as in --%s 90s; 0 means no limit", name)
		}
	}
	return nil
}

// jobID reads the one job ID of a command.
func jobID(s string) (entropy.JobID, error) {
	if err := entropy.ValidateID("job ID", s); err != nil {
		return "", err
	}
	return entropy.JobID(s), nil
}

// argument is the form cobra wants of the arguments a command takes, with an
// error that says what is missing.
func argument(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s is missing", what)
		case most >= 0 && len(args) > most:
			return usagef("%q is one argument too many", args[most])
		}
		return nil
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
