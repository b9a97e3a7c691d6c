package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// chunk is how much is read, hashed and written at a time, in bytes.
const chunk = 128 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// Put stores the content of r under its SHA-256 and returns when it is durable.
// A negative size means that it is not known. Storing what is there already is
// harmless, and then r is not read. CodeInvalid when the content has another hash
// or size, CodeTooLarge, CodeDiskFull; nothing is kept in any of these cases.
func (s *Store) Put(ctx context.Context, sum string, size int64, r io.Reader) (err error) {
	if err := s.checkContent(sum, size); err != nil {
		return err
	}
	if ok, err := s.stored(sum, size); ok || err != nil {
		return err
	}
	f, err := os.CreateTemp(s.path(tempDir), "put-*")
	if err != nil {
		return s.fault("store blob", err)
	}
	defer func() {
		f.Close() // its bytes are synced, or not wanted
		if err != nil {
			err = errors.Join(err, removeIfThere(f.Name()))
		}
	}()
	if err := s.receive(ctx, f, sum, size, r); err != nil {
		return err
	}
	return s.keep(f, sum)
}

// keep makes a received file durable and visible.
func (s *Store) keep(f *os.File, sum string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.disk.sync(f); err != nil {
		return s.fault("store blob", err)
	}
	return s.admit(move{from: f.Name(), sum: sum})
}

// receive copies r to f and checks its size and hash.
func (s *Store) receive(ctx context.Context, f *os.File, sum string, size int64, r io.Reader) error {
	limit := s.conf.MaxBlob
	if size >= 0 {
		limit = size
	}
	h := sha256.New()
	n, err := s.copy(ctx, f, h, io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return err
	case n > limit && size < 0:
		return tooLarge("blob", n, limit)
	case n > limit || n < size:
		return entropy.Errorf(entropy.CodeInvalid, "the content of blob %s does not have the %d bytes announced", sum, size).
			WithHint("send all of it, with its size")
	}
	return matches(h, sum)
}

func (s *Store) copy(ctx context.Context, f *os.File, h hash.Hash, r io.Reader) (n int64, err error) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		if ctx.Err() != nil {
			return n, fmt.Errorf("receive blob: %w", context.Cause(ctx))
		}
		k, err := r.Read(buf[:])
		if k > 0 {
			h.Write(buf[:k])
			if _, err := s.disk.write(f, buf[:k], n); err != nil {
				return n, s.fault("store blob", err)
			}
			n += int64(k)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("receive blob: %w", err)
		}
	}
}

// move is a whole and synced file that becomes a blob.
type move struct {
	from, sum string
	size      int64
}

// admit renames files into the content store and returns when that is durable.
func (s *Store) admit(moves ...move) error {
	var errs []error
	var dirs []string
	s.settle(moves, 1)
	for _, m := range moves {
		to := s.blobPath(m.sum)
		if err := s.disk.rename(m.from, to); err != nil {
			errs = append(errs, err)
			continue
		}
		dirs = append(dirs, filepath.Dir(to))
	}
	if err := s.dirs.Sync(dirs...); err != nil {
		return s.fault("store blob", err) // not settled: whoever meets these blobs syncs again
	}
	s.settle(moves, -1)
	if err := errors.Join(errs...); err != nil {
		return s.fault("store blob", err)
	}
	return nil
}

func (s *Store) settle(moves []move, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range moves {
		if s.settling[m.sum] += by; s.settling[m.sum] == 0 {
			delete(s.settling, m.sum)
		}
	}
}

func (s *Store) unsettled(sum string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settling[sum] > 0
}

// stored reports whether the blob is there with that size (any, when negative),
// and makes sure that it is durable. A blob of another size is damaged, and as
// good as absent: storing it again replaces it.
func (s *Store) stored(sum string, size int64) (bool, error) {
	info, err := os.Stat(s.blobPath(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, s.fault("look for blob", err)
	}
	if size >= 0 && info.Size() != size {
		return false, nil
	}
	// In this order: a blob seen before it is settled is settled together.
	if s.unsettled(sum) {
		if err := s.dirs.Sync(filepath.Dir(s.blobPath(sum))); err != nil {
			return false, s.fault("store blob", err)
		}
	}
	return true, nil
}

// Has reports whether the content with that hash is stored durably. For content
// that another call is just storing it waits for the disk.
func (s *Store) Has(sum string) bool {
	if !entropy.ValidSHA256(sum) {
		return false
	}
	ok, err := s.stored(sum, -1)
	return ok && err == nil
}

// Missing returns those of the hashes that are not stored, in their order.
func (s *Store) Missing(hashes []string) []string {
	var missing []string
	for _, sum := range hashes {
		if !s.Has(sum) {
			missing = append(missing, sum)
		}
	}
	return missing
}

// Open returns the content with that hash, which the caller closes, and its
// size. It is not hashed again here; [Store.Verify] does that. CodeNotFound.
func (s *Store) Open(sum string) (io.ReadSeekCloser, int64, error) {
	if err := s.checkContent(sum, -1); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.blobPath(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, entropy.Errorf(entropy.CodeNotFound, "content %s is not stored", sum).WithHint("upload it first, or check the hash")
	}
	if err != nil {
		return nil, 0, s.fault("open blob", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(s.fault("open blob", err), f.Close())
	}
	return f, info.Size(), nil
}

// Remove deletes a blob. Removing what is not there is harmless. Whoever calls
// it knows that nothing refers to the blob, or that [Store.Verify] found it damaged.
func (s *Store) Remove(sum string) error {
	if err := s.checkContent(sum, -1); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := removeIfThere(s.blobPath(sum)); err != nil {
		return s.fault("remove blob", err)
	}
	if err := s.dirs.Sync(filepath.Dir(s.blobPath(sum))); err != nil {
		return s.fault("remove blob", err)
	}
	return nil
}

func (s *Store) blobPath(sum string) string { return s.path(blobDir, sum[:1], sum) }

func (s *Store) checkContent(sum string, size int64) error {
	if !entropy.ValidSHA256(sum) {
		return entropy.Errorf(entropy.CodeInvalid, "%.80q is not a SHA-256", sum).WithHint("write 64 lower-case hexadecimal digits")
	}
	if size > s.conf.MaxBlob {
		return tooLarge("blob", size, s.conf.MaxBlob)
	}
	return nil
}

func tooLarge(what string, size, limit int64) error {
	return entropy.Errorf(entropy.CodeTooLarge, "a %s of %d bytes is too large, at most %d are allowed", what, size, limit).
		WithHint("split it")
}

func matches(h hash.Hash, sum string) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return entropy.Errorf(entropy.CodeInvalid, "the content has the SHA-256 %s and not %s", got, sum).WithHint("upload it again")
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
