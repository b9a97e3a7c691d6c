package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// tally is what the jobs and their artifacts add up to.
type tally struct {
	lost, retried, artifacts int
	bytes                    int64
	won                      map[entropy.AssignmentID]bool // the assignment of each job that succeeded
}

// checkJobs looks at every job and downloads every artifact: each must have the
// hash it was published with, and what the job found out about its folder must
// be what this program finds there itself.
func checkJobs(ctx context.Context, service entropy.Service, ids []entropy.JobID, dirs []string) (tally, error) {
	var (
		mu    sync.Mutex
		total = tally{won: map[entropy.AssignmentID]bool{}}
		errs  []error
		wg    sync.WaitGroup
	)
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				t, err := checkJob(ctx, service, ids[i], dirs[i])
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("%s (%s): %w", ids[i], dirs[i], err))
				}
				total.lost += t.lost
				total.retried += t.retried
				total.artifacts += t.artifacts
				total.bytes += t.bytes
				maps.Copy(total.won, t.won)
				mu.Unlock()
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	wg.Wait()
	return total, errors.Join(errs...)
}

func checkJob(ctx context.Context, service entropy.Service, id entropy.JobID, dir string) (tally, error) {
	var t tally
	j, err := service.Job(ctx, id)
	if err != nil {
		return t, err
	}
	if j.State != entropy.Succeeded {
		return t, fmt.Errorf("it is %s (%s: %s)", j.State, j.Reason, j.Message)
	}
	successes := 0
	for _, a := range j.Attempts {
		switch a.End {
		case entropy.EndSucceeded:
			successes++
			t.won = map[entropy.AssignmentID]bool{a.AssignmentID: true}
		case entropy.EndLost:
			t.lost++
		}
	}
	if t.lost > 0 && j.LastAttempt().End != entropy.EndLost {
		t.retried = 1
	}
	if successes != 1 {
		return t, fmt.Errorf("%d of its attempts succeeded", successes)
	}
	files := map[string][]byte{}
	for _, a := range j.Artifacts {
		b, err := fetch(ctx, service, id, a)
		if err != nil {
			return t, err
		}
		files[a.Name] = b
		t.artifacts++
		t.bytes += a.Size
	}
	if len(j.Artifacts) != 3 || files[linesName] == nil {
		return t, fmt.Errorf("it left %d artifacts, not 3", len(j.Artifacts))
	}
	return t, checkContents(files[manifestName], files[archiveName], dir)
}

// fetch downloads an artifact and compares it with its published hash.
func fetch(ctx context.Context, service entropy.Service, id entropy.JobID, a entropy.Artifact) ([]byte, error) {
	r, _, err := service.OpenArtifact(ctx, id, a.Name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, a.Size+1))
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", a.Name, err)
	}
	if sum := sum(b); sum != a.SHA256 || int64(len(b)) != a.Size {
		return nil, fmt.Errorf("%s has SHA-256 %s and %d bytes, published were %s and %d", a.Name, sum, len(b), a.SHA256, a.Size)
	}
	return b, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// checkContents compares the job's manifest and archive with the folder itself.
func checkContents(manifest, archive []byte, dir string) error {
	want := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			want["./"+e.Name()] = sum(b)
		}
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(manifest)) {
		if hash, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			listed[name] = hash
		}
	}
	packed, err := unpack(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", archiveName, err)
	}
	for name, hash := range want {
		if listed[name] != hash || packed[name] != hash {
			return fmt.Errorf("%s: the folder has %s, the manifest %q, the archive %q", name, hash, listed[name], packed[name])
		}
	}
	if len(listed) != len(want) || len(packed) != len(want) {
		return fmt.Errorf("the folder has %d files, the manifest %d, the archive %d", len(want), len(listed), len(packed))
	}
	return nil
}

// unpack returns the hash of each file of a compressed archive.
func unpack(archive []byte) (map[string]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[h.Name] = sum(b)
	}
}
