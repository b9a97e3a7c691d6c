package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// readSpool says what a worker has on disk about the assignments it holds. It
// works on a copy, taken between two writes or in the middle of one: what is
// not whole is not counted, exactly as after a power cut.
func readSpool(ctx context.Context, file string) (running, finished []entropy.Held, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(memory(), "entropy-spool-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "spool")
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		return nil, nil, err
	}
	s, err := spool.Open(spool.Config{Path: copied})
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	held, err := s.Held(ctx)
	for _, h := range held {
		if h.Spooled {
			finished = append(finished, h)
		} else {
			running = append(running, h)
		}
	}
	return running, finished, err
}

// memory returns a directory in memory, where there is one: opening a spool waits
// for the disk, and the moment to strike does not.
func memory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

// spoolOf returns the spool file of a worker's machine.
func spoolOf(m *machine) string { return filepath.Join(m.dir, "worker-state", "spool.log") }
