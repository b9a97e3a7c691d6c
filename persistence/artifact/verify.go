package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// Verify reads every blob and every part of a checkpoint, and returns how many it
// checked and which have another content than their name says, or cannot be read:
// a blob by its hash, a part as JOB/HASH. It changes nothing: [Store.Remove] lets
// a damaged blob be uploaded again. It may run beside everything else; err is not
// nil only if ctx ended or a directory is unreadable.
func (s *Store) Verify(ctx context.Context) (checked int, bad []string, err error) {
	for i := range digits {
		n, damaged, err := s.verifyDir(ctx, s.path(blobDir, digits[i:i+1]))
		checked, bad = checked+n, append(bad, damaged...)
		if err != nil {
			return checked, bad, fmt.Errorf("verify artifact store: %w", err)
		}
	}
	jobs, err := s.CheckpointJobs()
	if err != nil {
		return checked, bad, err
	}
	for _, job := range jobs {
		n, damaged, err := s.verifyDir(ctx, s.path(checkpointDir, string(job)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // its job may have ended meanwhile
			return checked, bad, fmt.Errorf("verify artifact store: %w", err)
		}
		checked += n
		for _, sum := range damaged {
			bad = append(bad, string(job)+"/"+sum)
		}
	}
	slices.Sort(bad)
	return checked, bad, nil
}

func (s *Store) verifyDir(ctx context.Context, dir string) (checked int, bad []string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, nil, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000) // flat memory, however many there are
		if errors.Is(err, io.EOF) {
			return checked, bad, nil
		}
		if err != nil {
			return checked, bad, err
		}
		for _, name := range names {
			if !entropy.ValidSHA256(name) {
				continue
			}
			ok, err := s.verifyFile(ctx, filepath.Join(dir, name), name)
			switch {
			case ctx.Err() != nil:
				return checked, bad, context.Cause(ctx)
			case errors.Is(err, fs.ErrNotExist):
				continue // removed meanwhile
			case err != nil:
				s.conf.Logger.Error("blob is unreadable", "sha256", name, "error", err)
			}
			if checked++; !ok {
				bad = append(bad, name)
			}
		}
	}
}

// verifyFile reports whether a file still has the content that its name says.
func (s *Store) verifyFile(ctx context.Context, path, sum string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	h := sha256.New()
	for ctx.Err() == nil {
		n, err := f.Read(buf[:])
		h.Write(buf[:n])
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)) == sum, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, ctx.Err()
}
