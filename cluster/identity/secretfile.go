package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/entropy-fabric/entropy"
)

// maxSecretFile bounds what is read of a secret file, in bytes.
const maxSecretFile = 4 << 10

// WriteSecretFile writes a secret and a newline to path, readable by its owner
// alone, durably and atomically: a reader sees the old file or the new one.
func WriteSecretFile(path, secret string) error { return writeFile(path, secret+"\n", 0o600) }

// writeFile replaces a file as a whole, durably.
func writeFile(path, text string, mode fs.FileMode) error {
	tmp, err := stage(path, text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return syncDir(filepath.Dir(path))
}

// createSecretFile is WriteSecretFile for a path that must not exist yet; else
// the error is fs.ErrExist.
func createSecretFile(path, secret string) error {
	tmp, err := stage(path, secret+"\n", 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil { // unlike rename, never replaces
		return fmt.Errorf("write secret: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// stage writes the text to a temporary file beside path.
func stage(path, text string, mode fs.FileMode) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // CreateTemp makes it 0600
	if err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	_, werr := f.WriteString(text)
	if err := errors.Join(f.Chmod(mode), werr, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write secret: %w", err)
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory of secret: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory of secret: %w", err)
	}
	return nil
}

// ReadSecretFile returns the secret in path without surrounding white space. It
// refuses a file that its group or others may read or write, one that is not a
// regular file, and one that holds more than one line. A missing file is
// fs.ErrNotExist.
func ReadSecretFile(path string) (string, error) {
	b, err := readSecret(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" || strings.ContainsAny(secret, " \t\r\n") {
		return "", notOneLine(path)
	}
	return secret, nil
}

func notOneLine(path string) error {
	return entropy.Errorf(entropy.CodeInvalid, "%s does not hold one secret on one line", path).WithHint("write the secret to it again, alone")
}

// readSecret reads a file that only its owner may read.
func readSecret(path string) ([]byte, error) {
	// Nonblocking, so that a named pipe in its place is an error and no hang.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if err := checkSecretFile(path, info); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if len(b) > maxSecretFile {
		return nil, notOneLine(path)
	}
	return b, nil
}

func checkSecretFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return entropy.Errorf(entropy.CodeInvalid, "%s is not a regular file", path).WithHint("name the file that holds the secret")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return entropy.Errorf(entropy.CodeForbidden, "%s has mode %04o: others than its owner may use the secret", path, mode).
			WithHint("chmod 600 %s, and replace the secret if others could read it", path)
	}
	return nil
}

// LoadOrCreateWorkerKey returns the credential in path of the worker with this
// name, and makes it at first. Two processes that start together get the same
// one. A key of another name is refused: it is another worker's.
func LoadOrCreateWorkerKey(path string, name entropy.WorkerID) (secret string, err error) {
	if err := entropy.ValidateID("worker name", string(name)); err != nil {
		return "", err
	}
	secret, err = ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh, kerr := NewWorkerKey(name)
		if kerr != nil {
			return "", kerr
		}
		if err = createSecretFile(path, fresh); err == nil {
			return fresh, nil
		}
		if errors.Is(err, fs.ErrExist) {
			secret, err = ReadSecretFile(path)
		}
	}
	if err != nil {
		return "", err
	}
	return secret, checkWorkerKey(path, secret, name)
}

func checkWorkerKey(path, secret string, name entropy.WorkerID) error {
	c, err := Parse(secret)
	if err != nil || c.Role != entropy.RoleWorker {
		return entropy.Errorf(entropy.CodeInvalid, "%s does not hold a worker's key", path).
			WithHint("restore it from a backup; without it the worker must join under a new name")
	}
	if c.ID != string(name) {
		return entropy.Errorf(entropy.CodeConflict, "%s is the key of worker %q, not of %q", path, c.ID, name).
			WithHint("start with --name %s, or use another --data directory for %s", c.ID, name)
	}
	return nil
}
