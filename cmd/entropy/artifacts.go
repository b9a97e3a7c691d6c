package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

func (a *app) artifactsCommand() *cobra.Command {
	ls := a.command(&cobra.Command{
		Use:   "ls JOB",
		Short: "List the files a job left",
		Args:  argument(1, 1, "a job ID"),
	}, func(ctx context.Context, args []string) error { return a.listArtifacts(ctx, args[0]) })

	var dir string
	get := &cobra.Command{
		Use:   "get JOB [NAME…]",
		Short: "Download the files a job left, checked against their SHA-256",
		Long: `Download the files a job left: all of them, or those named. Each is checked
against its SHA-256 while it is written and appears under its name only when
it is whole and right. The paths written are printed.`,
		Example: "  entropy artifacts get $JOB -O results",
		Args:    argument(1, -1, "a job ID"),
	}
	get.Flags().StringVarP(&dir, "output-dir", "O", ".", "`DIR` to write to; made when it is not there")
	a.command(get, func(ctx context.Context, args []string) error { return a.getArtifacts(ctx, dir, args[0], args[1:]) })
	return a.group(&cobra.Command{Use: "artifacts", Short: "List and download the files jobs left"}, ls, get)
}

// published returns a job's artifacts.
func (a *app) published(ctx context.Context, arg string) (entropy.Service, entropy.JobID, []entropy.Artifact, error) {
	id, err := jobID(arg)
	if err != nil {
		return nil, "", nil, err
	}
	service, err := a.connect()
	if err != nil {
		return nil, "", nil, err
	}
	j, err := service.Job(ctx, id)
	if err != nil {
		return nil, "", nil, err
	}
	return service, id, j.Artifacts, nil
}

func (a *app) listArtifacts(ctx context.Context, arg string) error {
	_, _, artifacts, err := a.published(ctx, arg)
	if err != nil {
		return err
	}
	return list(a, artifacts, artifactTable)
}

func artifactTable(artifacts []entropy.Artifact) *table {
	t := new(table)
	t.row("SHA256", "SIZE", "NAME")
	for _, f := range artifacts {
		t.row(f.SHA256, size(f.Size), f.Name)
	}
	return t
}

func (a *app) getArtifacts(ctx context.Context, dir, arg string, names []string) error {
	service, id, artifacts, err := a.published(ctx, arg)
	if err != nil {
		return err
	}
	chosen, err := choose(id, artifacts, names)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		a.notef("job %s left no artifacts", id)
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory to write to: %w", err)
	}
	root, err := os.OpenRoot(dir) // no name and no symbolic link below dir leads out of it
	if err != nil {
		return fmt.Errorf("open the directory to write to: %w", err)
	}
	defer root.Close()
	p := &patience{a: a, limit: sendPatience}
	for _, f := range chosen {
		if err := p.do(ctx, func() error { return download(ctx, service, id, f, root) }); err != nil {
			return err
		}
		done := struct {
			entropy.Artifact
			Path string `json:"path"`
		}{f, filepath.Join(dir, filepath.FromSlash(f.Name))}
		if err := a.one(done, func() error { return a.printf("%s\n", printable(done.Path)) }); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the artifacts of the names; all of them for no name.
func choose(id entropy.JobID, artifacts []entropy.Artifact, names []string) ([]entropy.Artifact, error) {
	if len(names) == 0 {
		return artifacts, nil
	}
	byName := make(map[string]entropy.Artifact, len(artifacts))
	for _, f := range artifacts {
		byName[f.Name] = f
	}
	var chosen []entropy.Artifact
	for _, n := range names {
		f, ok := byName[n]
		if !ok {
			return nil, entropy.Errorf(entropy.CodeNotFound, "job %s left no artifact %q", id, n).WithHint("entropy artifacts ls %s", id)
		}
		chosen = append(chosen, f)
	}
	return chosen, nil
}

// download writes one artifact below root. The file appears when all of it has
// arrived and has the hash that was published; before that it has another name.
func download(ctx context.Context, service entropy.Service, id entropy.JobID, f entropy.Artifact, root *os.Root) error {
	name := filepath.FromSlash(f.Name)
	if !filepath.IsLocal(name) || !entropy.LocalPath(f.Name) {
		return entropy.Errorf(entropy.CodeInvalid, "artifact %q leaves the directory to write to", f.Name)
	}
	content, _, err := service.OpenArtifact(ctx, id, f.Name)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	part := name + ".part-" + entropy.NewID()
	if err := writeChecked(root, part, content, f); err != nil {
		root.Remove(part)
		return err
	}
	if err := root.Rename(part, name); err != nil {
		root.Remove(part)
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return nil
}

// writeChecked copies content into a new file and compares what it wrote.
func writeChecked(root *os.Root, part string, content io.Reader, want entropy.Artifact) error {
	file, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", want.Name, err)
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, h), io.LimitReader(content, want.Size+1))
	if err != nil {
		return entropy.Errorf(entropy.CodeUnavailable, "the download of %s broke off after %d of %d bytes: %v", want.Name, n, want.Size, err).
			WithHint("run the same command again")
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != want.Size || got != want.SHA256 {
		return entropy.Errorf(entropy.CodeInternal, "%s arrived with %d bytes and SHA-256 %s, published were %d and %s", want.Name, n, got, want.Size, want.SHA256).
			WithHint("run entropy verify on the control plane's host")
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", want.Name, err)
	}
	return file.Close()
}
