package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/entropy-fabric/entropy"
)

// The parts of a job's checkpoints lie in a directory of their own, so that what
// nothing needs any more is found without looking at other jobs, and a job's
// whole past goes with one directory.
//
//	checkpoint/<job>/<sha256>   a pack of chunks, or a manifest

// PutCheckpoint stores one part of a job's checkpoints. Its bytes are on disk when
// it returns, its name from the next [Store.MissingCheckpoint] on. A part that is
// there is not read. CodeInvalid when the content has another hash or size,
// CodeDiskFull when less than Config.Reserve would be left.
func (s *Store) PutCheckpoint(ctx context.Context, job entropy.JobID, p entropy.CheckpointPart, r io.Reader) (err error) {
	if err := s.checkPart(job, p); err != nil {
		return err
	}
	if len(s.absent(job, []entropy.CheckpointPart{p})) == 0 {
		return nil
	}
	if err := s.CheckpointRoom(p.Size); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.path(tempDir), "checkpoint-*")
	if err != nil {
		return s.fault("store checkpoint", err)
	}
	defer func() {
		f.Close() // its bytes are synced, or not wanted
		if err != nil {
			err = errors.Join(err, removeIfThere(f.Name()))
		}
	}()
	if err := s.receive(ctx, f, p.SHA256, p.Size, r); err != nil {
		return err
	}
	return s.keepPart(f, job, p.SHA256)
}

// keepPart gives a received part its name.
func (s *Store) keepPart(f *os.File, job entropy.JobID, sum string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.disk.sync(f); err != nil {
		return s.fault("store checkpoint", err)
	}
	err := s.disk.rename(f.Name(), s.partPath(job, sum))
	if errors.Is(err, fs.ErrNotExist) { // the job's first part
		if err = os.MkdirAll(s.path(checkpointDir, string(job)), 0o700); err == nil {
			err = s.disk.rename(f.Name(), s.partPath(job, sum))
		}
	}
	if err != nil {
		return s.fault("store checkpoint", err)
	}
	return nil
}

// MissingCheckpoint returns those of a job's parts that are not stored. When it
// returns none, all of them survive a power loss.
func (s *Store) MissingCheckpoint(job entropy.JobID, parts []entropy.CheckpointPart) ([]string, error) {
	for _, p := range parts {
		if err := s.checkPart(job, p); err != nil {
			return nil, err
		}
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if missing := s.absent(job, parts); len(missing) > 0 || len(parts) == 0 {
		return missing, nil
	}
	if err := s.dirs.Sync(s.path(checkpointDir, string(job)), s.path(checkpointDir)); err != nil {
		return nil, s.fault("store checkpoint", err)
	}
	return nil, nil
}

// absent returns the parts that are not there with their size. One of another
// size is damaged, and storing it again replaces it.
func (s *Store) absent(job entropy.JobID, parts []entropy.CheckpointPart) (missing []string) {
	for _, p := range parts {
		if info, err := os.Stat(s.partPath(job, p.SHA256)); err != nil || info.Size() != p.Size {
			missing = append(missing, p.SHA256)
		}
	}
	return missing
}

// OpenCheckpoint returns the content of a part, which the caller closes, and its
// size. CodeNotFound.
func (s *Store) OpenCheckpoint(job entropy.JobID, sum string) (io.ReadCloser, int64, error) {
	if err := s.checkPart(job, entropy.CheckpointPart{SHA256: sum}); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.partPath(job, sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, entropy.Errorf(entropy.CodeNotFound, "job %s has no checkpoint part %s", job, sum).WithHint("entropy job %s shows the checkpoints it has", job)
	}
	if err != nil {
		return nil, 0, s.fault("open checkpoint", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(s.fault("open checkpoint", err), f.Close())
	}
	return f, info.Size(), nil
}

// CheckpointRoom returns nil if so many bytes may be stored and Config.Reserve is
// still free then, else CodeDiskFull.
func (s *Store) CheckpointRoom(n int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.conf.Dir, &st); err != nil {
		return s.fault("look for room", err)
	}
	if free := int64(st.Bavail) * st.Bsize; s.conf.Reserve >= 0 && free-n < s.conf.Reserve {
		return entropy.Errorf(entropy.CodeDiskFull, "there is no room for %d bytes of a checkpoint: %d are free, and %d of them are kept for the fabric itself", n, free, s.conf.Reserve).
			WithHint("free space below %s, or save less", s.conf.Dir)
	}
	return nil
}

// PruneCheckpoints removes every part of a job that the manifests to keep do not
// need; all of them when there is none to keep. The caller makes sure that no
// commit of the job is under way. A manifest that is damaged keeps nothing alive,
// as nothing can be restored from it.
func (s *Store) PruneCheckpoints(job entropy.JobID, keep []entropy.CheckpointPart) error {
	if err := entropy.ValidateID("job id", string(job)); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	dir := s.path(checkpointDir, string(job))
	if len(keep) == 0 {
		if err := os.RemoveAll(dir); err != nil {
			return s.fault("remove checkpoints", err)
		}
		return nil
	}
	needed, err := s.neededParts(job, keep)
	if err != nil {
		return err
	}
	parts, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fault("remove checkpoints", err)
	}
	for _, e := range parts {
		if needed[e.Name()] {
			continue
		}
		if err := removeIfThere(s.partPath(job, e.Name())); err != nil {
			return s.fault("remove checkpoints", err)
		}
	}
	return nil
}

// neededParts returns the names of the manifests and of all that they refer to.
func (s *Store) neededParts(job entropy.JobID, keep []entropy.CheckpointPart) (map[string]bool, error) {
	needed := make(map[string]bool)
	for _, k := range keep {
		if err := s.checkPart(job, k); err != nil {
			return nil, err
		}
		needed[k.SHA256] = true
		b, err := os.ReadFile(s.partPath(job, k.SHA256))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, s.fault("remove checkpoints", err)
		}
		m, err := entropy.DecodeCheckpointManifest(b)
		if err != nil {
			s.conf.Logger.Error("the manifest of a checkpoint is damaged", "job_id", string(job), "sha256", k.SHA256, "error", err)
			continue
		}
		for _, p := range m.Packs {
			needed[p.SHA256] = true
		}
	}
	return needed, nil
}

// CheckpointJobs returns the jobs that have parts stored, in order.
func (s *Store) CheckpointJobs() ([]entropy.JobID, error) {
	dirs, err := os.ReadDir(s.path(checkpointDir))
	if err != nil {
		return nil, s.fault("list checkpoints", err)
	}
	jobs := make([]entropy.JobID, 0, len(dirs))
	for _, d := range dirs {
		jobs = append(jobs, entropy.JobID(d.Name()))
	}
	slices.Sort(jobs)
	return jobs, nil
}

func (s *Store) partPath(job entropy.JobID, sum string) string {
	return s.path(checkpointDir, string(job), sum)
}

func (s *Store) checkPart(job entropy.JobID, p entropy.CheckpointPart) error {
	if err := entropy.ValidateID("job id", string(job)); err != nil {
		return err
	}
	if !entropy.ValidSHA256(p.SHA256) || p.Size < 0 {
		return entropy.Errorf(entropy.CodeInvalid, "%.80q of %d bytes is not part of a checkpoint", p.SHA256, p.Size).WithHint("write its SHA-256 as 64 lower-case hexadecimal digits")
	}
	if p.Size > entropy.MaxCheckpointManifest {
		return tooLarge("part of a checkpoint", p.Size, entropy.MaxCheckpointManifest)
	}
	return nil
}
