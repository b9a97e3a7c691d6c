package entropy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
)

// CheckpointManifest says what a checkpoint consists of. The bytes of its files
// are cut into chunks; chunks lie in packs, which several checkpoints of a job
// share. It is stored as JSON.
type CheckpointManifest struct {
	Format    int              `json:"format"`     // CheckpointFormat
	ChunkSize int              `json:"chunk_size"` // the average that was aimed at, in bytes; the next save keeps to it
	Packs     []CheckpointPart `json:"packs"`      // every pack that a chunk lies in, once
	Dirs      []CheckpointDir  `json:"dirs,omitempty"`
	Files     []CheckpointFile `json:"files"`
}

// CheckpointFormat is the only format of manifests so far.
const CheckpointFormat = 1

// CheckpointDir is a directory below a checkpoint's own.
type CheckpointDir struct {
	Path string `json:"path"` // relative, slash-separated
	Mode uint32 `json:"mode"` // permission bits
}

// CheckpointFile is one regular file of a checkpoint.
type CheckpointFile struct {
	Path   string    `json:"path"` // relative, slash-separated
	Mode   uint32    `json:"mode"` // permission bits
	Size   int64     `json:"size"`
	Chunks ChunkList `json:"chunks"` // in order, without gaps
}

// Chunk is a run of a file's bytes and where they are stored.
type Chunk struct {
	SHA256 [sha256.Size]byte
	Pack   uint32 // index in CheckpointManifest.Packs
	Offset uint32 // in the pack
	Size   uint32
}

// ChunkList is a list of chunks, chunkSize bytes each: a large checkpoint has
// hundreds of thousands.
type ChunkList []byte

const chunkSize = sha256.Size + 3*4

// Len returns the number of chunks.
func (l ChunkList) Len() int { return len(l) / chunkSize }

// At returns one chunk.
func (l ChunkList) At(i int) Chunk {
	b := l[i*chunkSize : (i+1)*chunkSize]
	n := binary.BigEndian.Uint32
	return Chunk{SHA256: [sha256.Size]byte(b), Pack: n(b[sha256.Size:]), Offset: n(b[sha256.Size+4:]), Size: n(b[sha256.Size+8:])}
}

// Append returns the list with one more chunk.
func (l ChunkList) Append(c Chunk) ChunkList {
	l = append(l, c.SHA256[:]...)
	l = binary.BigEndian.AppendUint32(l, c.Pack)
	l = binary.BigEndian.AppendUint32(l, c.Offset)
	return binary.BigEndian.AppendUint32(l, c.Size)
}

// Size returns the bytes of all files.
func (m *CheckpointManifest) Size() (n int64) {
	for i := range m.Files {
		n += m.Files[i].Size
	}
	return n
}

// Encode returns the manifest as it is stored, and its name.
func (m *CheckpointManifest) Encode() ([]byte, CheckpointPart, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, CheckpointPart{}, fmt.Errorf("encode checkpoint manifest: %w", err)
	}
	if len(b) > MaxCheckpointManifest {
		return nil, CheckpointPart{}, Errorf(CodeTooLarge, "the checkpoint's list of files and chunks has %d bytes, at most %d are allowed", len(b), MaxCheckpointManifest).
			WithHint("save fewer files, or an archive of them")
	}
	sum := sha256.Sum256(b)
	return b, CheckpointPart{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}, nil
}

// DecodeCheckpointManifest reads what Encode wrote, and checks it. Its content is
// a worker's word: no name in it leads out of the directory it is restored to,
// and no chunk reaches beyond its pack. CodeInvalid.
func DecodeCheckpointManifest(b []byte) (*CheckpointManifest, error) {
	m := new(CheckpointManifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, Errorf(CodeInvalid, "the checkpoint's manifest cannot be read: %v", err)
	}
	if err := m.check(); err != nil {
		return nil, Errorf(CodeInvalid, "the checkpoint's manifest is not valid: %v", err)
	}
	return m, nil
}

func (m *CheckpointManifest) check() error {
	switch {
	case m.Format != CheckpointFormat:
		return fmt.Errorf("its format is %d, this program knows %d", m.Format, CheckpointFormat)
	case len(m.Files)+len(m.Dirs) > MaxCheckpointFiles:
		return fmt.Errorf("it names more than %d files and directories", MaxCheckpointFiles)
	}
	packs := make(map[string]bool, len(m.Packs))
	for _, p := range m.Packs {
		if !ValidSHA256(p.SHA256) || p.Size < 1 || p.Size > MaxCheckpointPack || packs[p.SHA256] {
			return fmt.Errorf("pack %.80q of %d bytes", p.SHA256, p.Size)
		}
		packs[p.SHA256] = true
	}
	if err := m.checkNames(); err != nil {
		return err
	}
	var total int64
	for i := range m.Files {
		f := &m.Files[i]
		if err := m.checkChunks(f); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		if total += f.Size; total > MaxCheckpointSize {
			return fmt.Errorf("it has more than %d bytes", int64(MaxCheckpointSize))
		}
	}
	return nil
}

// checkNames makes sure that every path is local and that each name is either
// one file or a directory.
func (m *CheckpointManifest) checkNames() error {
	const file, dir = 1, 2
	kind := make(map[string]int, len(m.Files)+len(m.Dirs))
	for _, d := range m.Dirs {
		if !LocalPath(d.Path) || d.Mode&^0o777 != 0 {
			return fmt.Errorf("directory %.200q is not a plain relative path with permission bits", d.Path)
		}
		kind[d.Path] = dir
	}
	for i := range m.Files {
		for p := path.Dir(m.Files[i].Path); p != "." && p != "/" && kind[p] != dir; p = path.Dir(p) {
			kind[p] = dir
		}
	}
	for _, d := range m.Dirs {
		for p := path.Dir(d.Path); p != "." && p != "/"; p = path.Dir(p) {
			kind[p] = dir
		}
	}
	for i := range m.Files {
		f := &m.Files[i]
		if !LocalPath(f.Path) || f.Mode&^0o777 != 0 || kind[f.Path] != 0 {
			return fmt.Errorf("file %.200q is not a unique plain relative path with permission bits", f.Path)
		}
		kind[f.Path] = file
	}
	return nil
}

func (m *CheckpointManifest) checkChunks(f *CheckpointFile) error {
	if len(f.Chunks)%chunkSize != 0 {
		return fmt.Errorf("its list of chunks is cut off")
	}
	left := f.Size
	for i := range f.Chunks.Len() {
		c := f.Chunks.At(i)
		if int(c.Pack) >= len(m.Packs) || c.Size == 0 || int64(c.Offset)+int64(c.Size) > m.Packs[c.Pack].Size {
			return fmt.Errorf("chunk %d lies outside of its pack", i)
		}
		left -= int64(c.Size)
	}
	if left != 0 {
		return fmt.Errorf("its chunks do not add up to %d bytes", f.Size)
	}
	return nil
}
