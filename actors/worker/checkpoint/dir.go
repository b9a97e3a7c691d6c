package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/entropy-fabric/entropy"
)

// Dir is the part of an assignment's workspace that is about checkpoints:
//
//	<workspace>/checkpoint/           ENTROPY_CHECKPOINT_DIR, the job's
//	<workspace>/checkpoint/ready/     what is renamed into it is saved
//	<workspace>/checkpoint/restored/  what the attempt resumes from, if anything
//	<workspace>/checkpoint/status     what became of the newest, in one line
//	<workspace>/saving/               the worker's: settings, base, entry/
//
// What the job may have replaced by a link is only reached through an [os.Root] of
// the workspace, which nothing leads out of.
type Dir struct{ work string }

// Names in a workspace of what the job can put something else in the place of, or
// close to itself.
const (
	readyDir    = "checkpoint/ready"
	restoredDir = "checkpoint/restored"
	statusFile  = "checkpoint/status"
	entryDir    = "saving/entry"
	halfDir     = "saving/restoring"
)

// At returns the checkpoint directories of a workspace, which need not exist.
func At(workspace string) Dir { return Dir{workspace} }

// Job returns the directory that belongs to the job: ENTROPY_CHECKPOINT_DIR.
func (d Dir) Job() string { return d.work + "/checkpoint" }

func (d Dir) ready() string    { return d.work + "/" + readyDir }
func (d Dir) status() string   { return d.work + "/" + statusFile }
func (d Dir) entry() string    { return d.work + "/" + entryDir }
func (d Dir) restored() string { return d.work + "/" + restoredDir }
func (d Dir) own() string      { return d.work + "/saving" }
func (d Dir) settings() string { return d.work + "/saving/settings" }
func (d Dir) base() string     { return d.work + "/saving/base" }
func (d Dir) half() string     { return d.work + "/" + halfDir }

// within calls f with the workspace.
func (d Dir) within(f func(work *os.Root) error) error {
	work, err := os.OpenRoot(d.work)
	if err != nil {
		return err
	}
	defer work.Close()
	return f(work)
}

// settings is what a later agent must know of the job's policy.
type settings struct {
	MaxSize int64 `json:"max_size"`
}

// base is the checkpoint that the next one builds on.
type base struct {
	Seq      uint64                      `json:"seq"` // of the newest that this assignment committed, or 0
	Manifest *entropy.CheckpointManifest `json:"manifest,omitempty"`
}

// Make makes the directories in an existing workspace. What exists is kept.
func (d Dir) Make(p *entropy.CheckpointPolicy) error {
	for _, path := range []string{d.Job(), d.ready(), d.own()} {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make checkpoint directory: %w", err)
		}
	}
	return writeJSON(d.settings(), settings{MaxSize: p.MaxSizeOrDefault()})
}

// Enabled reports whether the assignment saves checkpoints.
func (d Dir) Enabled() bool {
	_, err := os.Stat(d.settings())
	return err == nil
}

func (d Dir) maxSize() int64 {
	var s settings
	if readJSON(d.settings(), &s) != nil || s.MaxSize <= 0 {
		return entropy.DefaultCheckpointSize
	}
	return s.MaxSize
}

// loadBase returns the base, empty if there is none or it cannot be read: then
// everything is sent again.
func (d Dir) loadBase() (b base) {
	if readJSON(d.base(), &b) != nil {
		return base{}
	}
	return b
}

// writeJSON replaces a file of the worker's own as a whole.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	next := path + ".next"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return os.Rename(next, path)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// say replaces the line about the newest checkpoint.
func (d Dir) say(line string) error {
	return d.within(func(work *os.Root) error {
		const next = statusFile + ".next"
		_ = work.Remove(next) // whatever the job put there
		if err := work.WriteFile(next, []byte(line+"\n"), 0o600); err != nil {
			return err
		}
		return work.Rename(next, statusFile)
	})
}

// remove removes what is at one of the names, if anything.
func (d Dir) remove(name string) error {
	return d.within(func(work *os.Root) error { return removeAll(work, name) })
}

// removeAll removes a tree, also where the job has closed directories to itself.
func removeAll(work *os.Root, name string) error {
	err := work.RemoveAll(name)
	if errors.Is(err, fs.ErrPermission) {
		_ = fs.WalkDir(work.FS(), name, func(p string, e fs.DirEntry, err error) error {
			if e != nil && e.IsDir() {
				_ = work.Chmod(p, 0o700)
			}
			return nil // whatever stays closed is reported by the removal
		})
		err = work.RemoveAll(name)
	}
	return err
}
