package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// Collect finds the artifacts of a run that succeeded and computes their
// digests: every file below the artifact directory, and whatever the globs
// match, relative to the working directory or to the artifact directory. A glob
// that matches a directory means every file below it.
//
// It refuses a glob that matches nothing, a link that leads out of its
// directory, and whatever is not a file. The errors are for people.
func Collect(workdir, artifactDir string, globs []string) ([]entropy.Artifact, []spool.File, error) {
	c := collector{seen: map[string]int{}}
	if err := c.everything(artifactDir); err != nil {
		return nil, nil, err
	}
	if err := c.matching(workdir, artifactDir, globs); err != nil {
		return nil, nil, err
	}
	return c.artifacts, c.files, nil
}

type collector struct {
	artifacts []entropy.Artifact
	files     []spool.File
	seen      map[string]int // by name, the index of the artifact
	buf       []byte
}

// everything takes each file below dir, which need not exist.
func (c *collector) everything(dir string) error {
	if empty, err := isEmpty(dir); empty || errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot read the artifact directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot open the artifact directory: %w", err)
	}
	defer root.Close()
	return c.tree(root, ".")
}

func isEmpty(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return err == io.EOF, nil
}

// tree takes each file below name.
func (c *collector) tree(root *os.Root, name string) error {
	return fs.WalkDir(root.FS(), name, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", p, err)
		}
		if e.IsDir() {
			return nil
		}
		return c.add(root, p)
	})
}

// matching takes what the globs match.
func (c *collector) matching(workdir, artifactDir string, globs []string) error {
	if len(globs) == 0 {
		return nil
	}
	var roots []*os.Root
	for _, dir := range []string{workdir, artifactDir} {
		root, err := os.OpenRoot(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot open %s to look for artifacts: %w", dir, err)
		}
		defer root.Close()
		roots = append(roots, root)
	}
	for _, g := range globs {
		n, err := c.glob(roots, g)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("artifact glob %q matched nothing in %s or in ENTROPY_ARTIFACT_DIR", g, workdir)
		}
	}
	return nil
}

func (c *collector) glob(roots []*os.Root, g string) (n int, err error) {
	for _, root := range roots {
		names, err := c.expand(root, g)
		if err != nil {
			return 0, err
		}
		n += len(names)
		for _, name := range names {
			if err := c.take(root, name); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// expand returns what a glob matches below root. A name without a wildcard is
// looked up as it is, so that a link leading out is refused and not overlooked.
func (c *collector) expand(root *os.Root, g string) ([]string, error) {
	if !strings.ContainsAny(g, `*?[\`) {
		if _, err := root.Lstat(g); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, refusal(root, g, err)
		}
		return []string{g}, nil
	}
	names, err := fs.Glob(root.FS(), g)
	if err != nil {
		return nil, fmt.Errorf("artifact glob %q: %w", g, err)
	}
	sort.Strings(names)
	return names, nil
}

func (c *collector) take(root *os.Root, name string) error {
	fi, err := root.Stat(name)
	if err != nil {
		return refusal(root, name, err)
	}
	if fi.IsDir() {
		return c.tree(root, name)
	}
	return c.add(root, name)
}

func refusal(root *os.Root, name string, err error) error {
	return fmt.Errorf("artifact %s cannot be taken from %s: %w", name, root.Name(), err)
}

// add takes one file: it is hashed now, and uploaded later from where it lies.
func (c *collector) add(root *os.Root, name string) error {
	name = path.Clean(name)
	if !entropy.LocalPath(name) {
		return fmt.Errorf("artifact name %q is not a plain relative path", name)
	}
	a, err := c.digest(root, name)
	if err != nil {
		return refusal(root, name, err)
	}
	if i, ok := c.seen[name]; ok {
		if c.artifacts[i] != a {
			return fmt.Errorf("two different files are both artifact %s: in %s and in %s", name, c.files[i].Root, root.Name())
		}
		return nil
	}
	if len(c.artifacts) == entropy.MaxJobArtifacts {
		return fmt.Errorf("there are more than %d artifacts; leave an archive instead", entropy.MaxJobArtifacts)
	}
	c.seen[name] = len(c.artifacts)
	c.artifacts = append(c.artifacts, a)
	c.files = append(c.files, spool.File{Root: root.Name(), Name: name})
	return nil
}

func (c *collector) digest(root *os.Root, name string) (entropy.Artifact, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return entropy.Artifact{}, err
	}
	defer f.Close()
	if c.buf == nil {
		c.buf = make([]byte, 256<<10)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, c.buf)
	if err != nil {
		return entropy.Artifact{}, err
	}
	return entropy.Artifact{Name: name, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n}, nil
}

// openRegular opens a file that must be a regular one: a FIFO would block, a
// device might do anything.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Open opens an artifact's content for upload. A name that leaves its root is refused.
func Open(file spool.File) (*os.File, error) {
	root, err := os.OpenRoot(file.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return openRegular(root, file.Name)
}
