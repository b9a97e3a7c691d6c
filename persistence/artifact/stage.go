package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/entropy-fabric/entropy"
)

// partSuffix marks a staged file that is not whole yet. A SHA-256 never ends so.
const partSuffix = ".part"

// Stage appends content to a staged artifact of an assignment, from offset on,
// and returns how many bytes are staged now. What overlaps is skipped; from
// beyond the staged bytes nothing is read. An upload that breaks off keeps what
// has arrived. Uploads of the same artifact may overlap in time: none waits for
// the reader of another.
//
// When size is reached the hash is checked: CodeInvalid means that it differed
// and that the staged bytes were dropped. CodeTooLarge, CodeDiskFull;
// CodeSuperseded when the assignment was discarded meanwhile. Content that is
// already stored counts as staged.
func (s *Store) Stage(ctx context.Context, a entropy.AssignmentID, sum string, size, offset int64, r io.Reader) (int64, error) {
	if err := s.checkStage(a, sum, size, offset); err != nil {
		return 0, err
	}
	if ok, err := s.stored(sum, size); err != nil {
		return 0, err
	} else if ok {
		return size, nil
	}
	up, err := s.beginUpload(a, sum, size)
	if err != nil {
		return 0, err
	}
	defer s.endUpload(up)
	return s.receivePieces(ctx, up, offset, r)
}

func (s *Store) checkStage(a entropy.AssignmentID, sum string, size, offset int64) error {
	if err := entropy.ValidateID("assignment id", string(a)); err != nil {
		return err
	}
	if err := s.checkContent(sum, size); err != nil {
		return err
	}
	if size < 0 || offset < 0 || offset > size {
		return entropy.Errorf(entropy.CodeInvalid, "offset %d does not lie in an artifact of %d bytes", offset, size)
	}
	if size > s.conf.MaxStaged {
		return tooLarge("artifact", size, s.conf.MaxStaged)
	}
	return nil
}

// receivePieces reads r piece by piece; each is appended under the file's lock,
// which is not held while reading.
func (s *Store) receivePieces(ctx context.Context, up *upload, at int64, r io.Reader) (int64, error) {
	staged, err := s.step(up, nil, at)
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for err == nil && staged < up.size && at <= staged {
		if ctx.Err() != nil {
			return staged, fmt.Errorf("receive artifact: %w", context.Cause(ctx))
		}
		n, readErr := r.Read(buf[:min(chunk, up.size-at)])
		if n > 0 {
			staged, err = s.step(up, buf[:n], at)
			at += int64(n)
		}
		if err != nil || readErr == io.EOF {
			break
		}
		if readErr != nil {
			return staged, fmt.Errorf("receive artifact: %w", readErr)
		}
	}
	return staged, err
}

// step adds one piece to the staged file and checks it when it is whole.
func (s *Store) step(up *upload, p []byte, at int64) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	f := up.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return 0, discarded(up.assignment)
	}
	if err := s.load(f); err != nil {
		return 0, err
	}
	if f.size > up.size || f.whole && f.size != up.size {
		return s.disagree(up)
	}
	if f.whole {
		return f.size, nil
	}
	if at < f.size && at+int64(len(p)) > f.size {
		p, at = p[f.size-at:], f.size
	}
	if at == f.size && len(p) > 0 {
		if err := s.extend(up.place, f, p); err != nil {
			return f.size, err
		}
	}
	if f.size == up.size {
		return f.size, s.finish(up.place, f)
	}
	return f.size, nil
}

// disagree refuses an upload that announces a size which cannot be right, given
// what is staged. Of a whole artifact the size is known; of a part nobody knows
// whose word is true, so it is dropped.
func (s *Store) disagree(up *upload) (int64, error) {
	f := up.file
	err := entropy.Errorf(entropy.CodeInvalid, "artifact %s has %d bytes staged, and not %d in all", f.sum, f.size, up.size).
		WithHint("announce the size of the whole artifact and upload it again")
	if f.whole {
		return f.size, err
	}
	return 0, errors.Join(err, s.drop(up.place, f))
}

// extend appends p to the staged file. After an error the file is as before.
func (s *Store) extend(st *staging, f *staged, p []byte) error {
	if !st.reserve(int64(len(p)), s.conf.MaxStaged) {
		return entropy.Errorf(entropy.CodeTooLarge, "the assignment has more than %d bytes staged", s.conf.MaxStaged).
			WithHint("leave fewer or smaller artifacts")
	}
	if _, err := s.disk.write(f.file, p, f.size); err != nil {
		st.free(int64(len(p)))
		if cut := f.file.Truncate(f.size); cut != nil {
			f.forget() // read it again before it is trusted
		}
		return s.fault("stage artifact", err)
	}
	f.hash.Write(p)
	f.size += int64(len(p))
	return nil
}

// finish checks a staged file whose last byte has arrived, and makes its bytes
// durable before the name says that it is whole.
func (s *Store) finish(st *staging, f *staged) error {
	if err := matches(f.hash, f.sum); err != nil {
		return errors.Join(err, s.drop(st, f))
	}
	if err := s.disk.sync(f.file); err != nil {
		return errors.Join(s.fault("stage artifact", err), s.drop(st, f)) // unknown is what the disk holds of it
	}
	if err := s.disk.rename(f.path+partSuffix, f.path); err != nil {
		return s.fault("stage artifact", err)
	}
	f.whole = true
	f.close()
	return nil
}

// drop removes the bytes staged so far.
func (s *Store) drop(st *staging, f *staged) error {
	st.free(f.size)
	f.forget()
	f.size = 0
	return removeIfThere(f.path + partSuffix)
}

// load makes f.size, f.hash and f.file what the disk holds.
func (s *Store) load(f *staged) error {
	if f.whole || f.file != nil {
		return nil
	}
	if info, err := os.Stat(f.path); err == nil {
		f.whole, f.size = true, info.Size()
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return s.fault("stage artifact", err)
	}
	if err := f.open(); err != nil {
		return s.fault("stage artifact", err)
	}
	if f.hash == nil {
		if err := f.rehash(); err != nil {
			f.forget()
			return s.fault("stage artifact", err)
		}
	}
	return nil
}

// beginUpload makes ready to receive pieces of one artifact.
func (s *Store) beginUpload(a entropy.AssignmentID, sum string, size int64) (*upload, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	st, err := s.acquire(a)
	if err != nil {
		return nil, s.fault("stage artifact", err)
	}
	f, err := st.join(a, sum, s.path(stageDir, string(a), sum))
	if err != nil {
		s.release(a, st)
		return nil, err
	}
	return &upload{assignment: a, place: st, file: f, size: size}, nil
}

// endUpload closes the file when nobody else is sending it. The hash so far is
// kept, so that the next upload need not read the file.
func (s *Store) endUpload(up *upload) {
	up.place.part(up.file)
	s.release(up.assignment, up.place)
}

func discarded(a entropy.AssignmentID) error {
	return entropy.Errorf(entropy.CodeSuperseded, "assignment %s has been decided", a).WithHint("stop sending its artifacts")
}
