package artifact

import (
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// streams are the outputs of a job. A closed set keeps "<assignment>.<stream>"
// unambiguous.
var streams = []string{"stdout", "stderr"}

const (
	logChunk    = 1 << 20 // what ReadLog returns when no limit is given, in bytes
	maxLogChunk = 8 << 20
)

// logLocks serializes the appends to one log; two logs rarely share a lock.
type logLocks [64]sync.Mutex

// AppendLog stores a piece of an assignment's output at an offset and returns
// the size stored. What overlaps is skipped; beyond a gap nothing is stored. The
// bytes are durable only after [Store.Publish]: until then the worker has them,
// and a smaller size after a power loss tells it where to go on. CodeTooLarge
// when the log has reached Config.MaxLog: what fits was stored.
func (s *Store) AppendLog(a entropy.AssignmentID, stream string, offset int64, p []byte) (stored int64, err error) {
	if err := checkLog(a, stream); err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, entropy.Errorf(entropy.CodeInvalid, "log offset %d is negative", offset)
	}
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	lock := &s.logs[shard(string(a)+"."+stream)%uint32(len(s.logs))]
	lock.Lock()
	defer lock.Unlock()
	f, err := os.OpenFile(s.logPath(a, stream), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, s.fault("append log", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, s.fault("append log", err)
	}
	return s.appendLog(f, size, offset, p)
}

func (s *Store) appendLog(f *os.File, size, offset int64, p []byte) (int64, error) {
	end := offset + int64(len(p))
	if offset > size || end <= size {
		return size, nil
	}
	p = p[size-offset:]
	var full error
	if room := max(0, s.conf.MaxLog-size); int64(len(p)) > room {
		p = p[:room]
		full = entropy.Errorf(entropy.CodeTooLarge, "the log has reached its limit of %d bytes", s.conf.MaxLog).
			WithHint("the rest of the output is not kept; leave large output as an artifact")
	}
	if _, err := s.disk.write(f, p, size); err != nil {
		return size, errors.Join(s.fault("append log", err), f.Truncate(size))
	}
	return size + int64(len(p)), full
}

// ReadLog returns up to limit bytes of an assignment's output from offset on,
// and the offset to go on from. A negative offset counts from the end. A limit
// of 0 means 1 MiB; at most 8 MiB are returned at once. A log that does not
// exist yet is empty.
func (s *Store) ReadLog(a entropy.AssignmentID, stream string, offset int64, limit int) (data []byte, next int64, err error) {
	if err := checkLog(a, stream); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.logPath(a, stream))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, max(0, offset), nil
	}
	if err != nil {
		return nil, 0, s.fault("read log", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, s.fault("read log", err)
	}
	if offset < 0 {
		offset = max(0, info.Size()+offset)
	}
	if limit <= 0 {
		limit = logChunk
	}
	n := min(int64(limit), maxLogChunk, info.Size()-offset)
	if n <= 0 {
		return nil, offset, nil // it may be ahead of a log that lost its tail to a power loss
	}
	data = make([]byte, n)
	k, err := f.ReadAt(data, offset)
	if err != nil && err != io.EOF {
		return nil, 0, s.fault("read log", err)
	}
	return data[:k], offset + int64(k), nil
}

// LogSize returns how many bytes of an assignment's output are stored; 0 for a
// log that does not exist.
func (s *Store) LogSize(a entropy.AssignmentID, stream string) int64 {
	if checkLog(a, stream) != nil {
		return 0
	}
	info, err := os.Stat(s.logPath(a, stream))
	if err != nil {
		return 0
	}
	return info.Size()
}

func checkLog(a entropy.AssignmentID, stream string) error {
	if !slices.Contains(streams, stream) {
		return entropy.Errorf(entropy.CodeInvalid, "stream %.80q is not stdout or stderr", stream)
	}
	return entropy.ValidateID("assignment id", string(a))
}

func (s *Store) logPath(a entropy.AssignmentID, stream string) string {
	d := shard(string(a)) % uint32(len(digits))
	return s.path(logDir, digits[d:d+1], string(a)+"."+stream)
}

func shard(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}
