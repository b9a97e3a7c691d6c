package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// DefaultPath is the PATH of jobs when neither the job nor the worker has one.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Check reports why a command could not be begun here: its program or its
// directory is not there. It looks where Start will look. What an image holds is
// not known before it runs.
func Check(spec *entropy.JobSpec) error {
	if spec.Cwd != "" {
		if err := checkDir(spec.Cwd); err != nil {
			return err
		}
	}
	if spec.Image != "" {
		return nil
	}
	_, err := lookup(spec)
	return err
}

func checkDir(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return entropy.Errorf(entropy.CodeInvalid, "the working directory %s does not exist on this worker", dir).
			WithHint("create it there, or submit without --cwd to get a fresh scratch directory")
	case err != nil:
		return entropy.Errorf(entropy.CodeInvalid, "the working directory %s cannot be used: %v", dir, err)
	case !fi.IsDir():
		return entropy.Errorf(entropy.CodeInvalid, "the working directory %s is not a directory", dir)
	}
	return nil
}

// lookup returns the file that argv[0] names: as execvp(3) would find it with
// the job's PATH, from the job's directory.
func lookup(spec *entropy.JobSpec) (string, error) {
	if len(spec.Command) == 0 {
		return "", entropy.Errorf(entropy.CodeInvalid, "the job has no command")
	}
	name := spec.Command[0]
	if strings.Contains(name, "/") {
		return lookupPath(name, spec.Cwd)
	}
	path := searchPath(spec)
	var denied error
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // the empty entry and relative ones would depend on the scratch directory
		}
		p := filepath.Join(dir, name)
		err := executable(p)
		if err == nil {
			return p, nil
		}
		if _, gone := errors.AsType[*fs.PathError](err); !gone && denied == nil {
			denied = notExecutable(p, err) // it is there; what could not be looked at is passed over
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", entropy.Errorf(entropy.CodeInvalid, "command %q was not found on this worker in PATH=%s", name, path).
		WithHint("install it there, give its full path, or set PATH with --env")
}

func lookupPath(name, cwd string) (string, error) {
	if !filepath.IsAbs(name) {
		if cwd == "" {
			return "", entropy.Errorf(entropy.CodeInvalid, "command %q is relative to the working directory, which is a fresh, empty one", name).
				WithHint("give its full path, or the directory with --cwd")
		}
		name = filepath.Join(cwd, name)
	}
	switch err := executable(name); {
	case errors.Is(err, fs.ErrNotExist):
		return "", entropy.Errorf(entropy.CodeInvalid, "command %s does not exist on this worker", name).
			WithHint("copy it there, or choose workers that have it with --require")
	case err != nil:
		return "", notExecutable(name, err)
	}
	return name, nil
}

func notExecutable(path string, err error) error {
	return entropy.Errorf(entropy.CodeInvalid, "command %s cannot be executed on this worker: %v", path, err).WithHint("chmod +x it there")
}

func searchPath(spec *entropy.JobSpec) string {
	if p, ok := spec.Env["PATH"]; ok {
		return p
	}
	if p := os.Getenv("PATH"); p != "" {
		return p
	}
	return DefaultPath
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case fi.IsDir():
		return errors.New("it is a directory")
	case fi.Mode()&0o111 == 0:
		return errors.New("it has no execute permission")
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}
