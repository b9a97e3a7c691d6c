package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// script is the whole job: hash each file of a package, count its lines,
// compress it. What it leaves in its scratch directory are the job's artifacts.
const script = `set -eu
out=$PWD
cd "$1"
find . -maxdepth 1 -type f | LC_ALL=C sort > "$out/files"
xargs sha256sum < "$out/files" > "$out/manifest.sha256"
xargs wc -l < "$out/files" > "$out/lines.txt"
tar -cf - -T "$out/files" | gzip -9 > "$out/source.tar.gz"
`

// The artifacts of each job.
const (
	manifestName = "manifest.sha256"
	linesName    = "lines.txt"
	archiveName  = "source.tar.gz"
)

// packages returns the package folders of the installed standard library, the
// largest first; at most limit of them, 0 means all.
func packages(ctx context.Context, limit int) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the standard library: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	bytes := map[string]int64{} // of Go files, by folder
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		skip := entry.Name() == "testdata" || entry.Name() == "vendor" || path == filepath.Join(root, "cmd")
		if entry.IsDir() && skip {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			bytes[filepath.Dir(path)] += info.Size()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find packages: %w", err)
	}
	dirs := slices.Collect(maps.Keys(bytes))
	slices.SortFunc(dirs, func(a, b string) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), strings.Compare(a, b))
	})
	if limit <= 0 {
		limit = len(dirs)
	}
	return dirs[:min(limit, len(dirs))], nil
}

// submit submits one job for each folder and returns their IDs, in order.
func submit(ctx context.Context, service entropy.Service, dirs []string) ([]entropy.JobID, error) {
	subs := make([]entropy.Submission, len(dirs))
	ids := make([]entropy.JobID, len(dirs))
	for i, dir := range dirs {
		_, name, _ := strings.Cut(dir, "/src/")
		ids[i] = entropy.JobID(entropy.NewID())
		subs[i] = entropy.Submission{ID: ids[i], Spec: entropy.JobSpec{
			Name:      name,
			Command:   []string{"sh", "-c", script, "index", dir},
			Artifacts: []string{manifestName, linesName, archiveName},
		}}
	}
	for len(subs) > 0 {
		n := min(len(subs), entropy.MaxBatch)
		results, err := service.Submit(ctx, subs[:n])
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			if r.Error != nil {
				return nil, r.Error
			}
		}
		subs = subs[n:]
	}
	return ids, nil
}
