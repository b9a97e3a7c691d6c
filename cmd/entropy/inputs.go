package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entropy-fabric/entropy"
)

// inputFile is a file on this machine that a job will find in ENTROPY_INPUT_DIR.
type inputFile struct {
	local string
	entropy.Input
}

type inputFiles []inputFile

func (files inputFiles) inputs() []entropy.Input {
	if len(files) == 0 {
		return nil
	}
	out := make([]entropy.Input, len(files))
	for i := range files {
		out[i] = files[i].Input
	}
	return out
}

// makeExecutable lets the job run the file of this path, whatever its mode is here.
func (files inputFiles) makeExecutable(path string) {
	abs, err := filepath.Abs(path)
	for i := range files {
		if err == nil && path != "" && files[i].local == abs {
			files[i].Mode |= 0o500
		}
	}
}

// gatherInputs finds and hashes the files that the paths name. A file keeps its
// base name; a directory comes with everything below it, empty directories too, under its own name.
func gatherInputs(ctx context.Context, paths []string) (inputFiles, error) {
	var files inputFiles
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, usagef("--input %s: %v", p, err)
		}
		parent := filepath.Dir(abs)
		err = filepath.WalkDir(abs, func(file string, entry fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || entry.IsDir() && !isEmpty(file) {
				return err
			}
			name, err := filepath.Rel(parent, file)
			if err != nil {
				return err
			}
			if len(files) == entropy.MaxInputs {
				return usagef("there are more than %d input files", entropy.MaxInputs).WithHint("ship an archive instead")
			}
			if entry.IsDir() {
				files = append(files, inputFile{local: file, Input: entropy.Input{Path: filepath.ToSlash(name), Dir: true}})
				return nil
			}
			in, err := hashInput(file, filepath.ToSlash(name))
			files = append(files, in)
			return err
		})
		if err != nil {
			if _, own := errors.AsType[*entropy.Error](err); own || ctx.Err() != nil {
				return nil, err
			}
			return nil, usagef("--input %s: %v", p, err).WithHint("name a readable file or directory on this machine")
		}
	}
	return files, nil
}

// isEmpty reports whether nothing is in a directory. One that cannot be read is not:
// the walk says why.
func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// hashInput describes one file. A symbolic link is shipped as the file it leads
// to; anything that is not a file in the end cannot be shipped.
func hashInput(file, name string) (inputFile, error) {
	info, err := os.Stat(file)
	if err != nil {
		return inputFile{}, err
	}
	if !info.Mode().IsRegular() {
		return inputFile{}, usagef("--input: %s is neither a file nor a directory", file).WithHint("ship what it leads to by its own path")
	}
	f, err := os.Open(file)
	if err != nil {
		return inputFile{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return inputFile{}, err
	}
	in := entropy.Input{Path: name, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n, Mode: uint32(info.Mode().Perm())}
	return inputFile{local: file, Input: in}, nil
}

// upload ships the contents that the control plane does not have yet, each once.
func (files inputFiles) upload(ctx context.Context, service entropy.Service, p *patience) error {
	byHash := make(map[string]inputFile, len(files))
	for _, f := range files {
		if !f.Dir {
			byHash[f.SHA256] = f
		}
	}
	hashes := sortedKeys(byHash)
	for len(hashes) > 0 {
		n := min(len(hashes), entropy.MaxBatch)
		var missing []string
		err := p.do(ctx, func() (err error) {
			missing, err = service.HasBlobs(ctx, hashes[:n])
			return err
		})
		if err != nil {
			return err
		}
		for _, sum := range missing {
			if err := p.do(ctx, func() error { return putFile(ctx, service, byHash[sum]) }); err != nil {
				return err
			}
		}
		hashes = hashes[n:]
	}
	return nil
}

func putFile(ctx context.Context, service entropy.Service, in inputFile) error {
	f, err := os.Open(in.local)
	if err != nil {
		return usagef("--input: %v", err)
	}
	defer f.Close()
	err = service.PutBlob(ctx, in.SHA256, in.Size, f)
	if entropy.ErrorCode(err) == entropy.CodeInvalid {
		return usagef("--input: %s changed while it was being shipped", in.local).WithHint("submit again when nothing writes to it")
	}
	return err
}
