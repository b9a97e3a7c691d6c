// Package cache keeps the inputs of jobs at a worker, by content.
//
// A file is in the cache only whole, verified against its SHA-256 and on disk.
// The least recently used are removed when the limit is passed, but none that
// is being used, so the limit may be exceeded for as long as that takes.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Cache is a directory of inputs. Its methods may be called from any goroutine.
// One process at a time may use a directory.
type Cache struct {
	dir   string
	limit int64

	mu      sync.Mutex
	size    int64
	entries map[string]*entry
}

type entry struct {
	size   int64
	used   time.Time
	users  int
	loaded chan struct{} // closed when the content is there, or err is set
	err    error
}

// Open opens the cache in dir, which it makes. Limit is in bytes.
func Open(dir string, limit int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make input cache: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open input cache: %w", err)
	}
	c := &Cache{dir: dir, limit: limit, entries: map[string]*entry{}}
	loaded := make(chan struct{})
	close(loaded)
	for _, e := range list {
		fi, err := e.Info()
		if err != nil || !entropy.ValidSHA256(e.Name()) || !fi.Mode().IsRegular() {
			_ = os.RemoveAll(filepath.Join(dir, e.Name())) // half a download of an earlier process
			continue
		}
		c.entries[e.Name()] = &entry{size: fi.Size(), used: fi.ModTime(), loaded: loaded}
		c.size += fi.Size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict()
	return c, nil
}

// Source opens content by its hash, as [entropy.WorkerService] OpenBlob does.
type Source func(ctx context.Context, sha256 string) (io.ReadCloser, error)

// Get returns the file with the given content, fetching it if it is not here.
// It stays until release is called, and must not be changed. Content that has
// another hash or size is refused with [entropy.CodeInvalid].
func (c *Cache) Get(ctx context.Context, hash string, size int64, from Source) (path string, release func(), err error) {
	if !entropy.ValidSHA256(hash) { // it becomes a file name
		return "", nil, entropy.Errorf(entropy.CodeInvalid, "%q is not a SHA-256", hash)
	}
	c.mu.Lock()
	e, load := c.entries[hash], false
	if e == nil {
		e, load = &entry{loaded: make(chan struct{})}, true
		c.entries[hash] = e
	}
	e.users++
	c.mu.Unlock()
	if load {
		c.load(ctx, e, hash, size, from)
	}
	select {
	case <-e.loaded:
		err = e.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.release(e)
		return "", nil, err
	}
	return c.path(hash), func() { c.release(e) }, nil
}

func (c *Cache) path(hash string) string { return filepath.Join(c.dir, hash) }

func (c *Cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	e.used = time.Now()
	c.evict()
}

// load fetches the content of a new entry. If it fails the entry goes, with the
// error for all who wait for it.
func (c *Cache) load(ctx context.Context, e *entry, hash string, size int64, from Source) {
	n, err := c.fetch(ctx, hash, size, from)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.size, e.err = n, err
	if err != nil {
		delete(c.entries, hash)
	} else {
		c.size += n
		c.evict()
	}
	close(e.loaded)
}

func (c *Cache) fetch(ctx context.Context, hash string, size int64, from Source) (int64, error) {
	r, err := from(ctx, hash)
	if err != nil {
		return 0, fmt.Errorf("fetch input %s: %w", hash, err)
	}
	defer r.Close()
	f, err := os.CreateTemp(c.dir, "fetch-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, size+1))
	if err != nil {
		return 0, fmt.Errorf("fetch input %s: %w", hash, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != hash || n != size {
		return 0, entropy.Errorf(entropy.CodeInvalid, "input %s of %d bytes arrived as %s of %d bytes", hash, size, got, n)
	}
	if err := f.Sync(); err != nil { // its name will be taken for its content after a power cut
		return 0, err
	}
	return n, os.Rename(f.Name(), c.path(hash))
}

// evict removes the least recently used content until the limit holds. The
// caller holds mu.
func (c *Cache) evict() {
	for c.size > c.limit {
		var oldest string
		for hash, e := range c.entries {
			if e.users == 0 && (oldest == "" || e.used.Before(c.entries[oldest].used)) {
				oldest = hash
			}
		}
		if oldest == "" || os.Remove(c.path(oldest)) != nil {
			return
		}
		c.size -= c.entries[oldest].size
		delete(c.entries, oldest)
	}
}
