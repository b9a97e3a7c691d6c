package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/entropy-fabric/entropy"
)

// segment is one chunk's place in the files of an entry.
type segment struct {
	file   int
	offset int64
	piece
}

// plan says what of an entry is stored already and what has to be sent, in packs.
type plan struct {
	*scanned
	send   [][]segment // the new packs
	upload int64       // bytes in them
	kept   []entropy.CheckpointPart
	where  map[[sha256.Size]byte]entropy.Chunk // Pack counts kept, then send
}

// newPlan compares an entry with the checkpoint before it, which may be nil. That
// a chunk is there already is known by its hash.
func newPlan(s *scanned, before *entropy.CheckpointManifest) *plan {
	p := &plan{scanned: s, where: make(map[[sha256.Size]byte]entropy.Chunk)}
	if before != nil {
		p.reuse(before)
	}
	var pack []segment
	size := 0
	flush := func() {
		if len(pack) > 0 {
			p.send, p.upload = append(p.send, pack), p.upload+int64(size)
			pack, size = nil, 0
		}
	}
	for i := range s.pieces {
		at := int64(0)
		for _, c := range s.pieces[i] {
			if _, ok := p.where[c.sum]; !ok {
				if size+int(c.size) > entropy.MaxCheckpointPack {
					flush()
				}
				p.where[c.sum] = entropy.Chunk{SHA256: c.sum, Pack: uint32(len(p.kept) + len(p.send)), Offset: uint32(size), Size: c.size}
				pack, size = append(pack, segment{i, at, c}), size+int(c.size)
			}
			at += int64(c.size)
		}
	}
	flush()
	return p
}

// reuse refers to the chunks of the checkpoint before, but not to those in packs
// of which less than half would still be needed: they are sent once more, so that
// the packs can go.
func (p *plan) reuse(before *entropy.CheckpointManifest) {
	old := make(map[[sha256.Size]byte]entropy.Chunk)
	for i := range before.Files {
		l := before.Files[i].Chunks
		for k := range l.Len() {
			c := l.At(k)
			old[c.SHA256] = c
		}
	}
	live := make([]int64, len(before.Packs))
	needed := make(map[[sha256.Size]byte]bool)
	for _, list := range p.pieces {
		for _, x := range list {
			if c, ok := old[x.sum]; ok && !needed[x.sum] {
				needed[x.sum] = true
				live[c.Pack] += int64(c.Size)
			}
		}
	}
	index := make(map[uint32]uint32)
	for i, n := range live {
		if n > 0 && 2*n >= before.Packs[i].Size {
			index[uint32(i)] = uint32(len(p.kept))
			p.kept = append(p.kept, before.Packs[i])
		}
	}
	for sum := range needed {
		c := old[sum]
		if to, ok := index[c.Pack]; ok {
			c.Pack = to
			p.where[sum] = c
		}
	}
}

// build reads the bytes of a new pack into buf. It checks every chunk again: the
// files may have changed since they were scanned.
func (p *plan) build(pack []segment, buf []byte) ([]byte, error) {
	buf = buf[:0]
	var f *os.File
	open := -1
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	for _, s := range pack {
		if open != s.file {
			if f != nil {
				f.Close()
			}
			var err error
			if f, _, err = p.openFile(s.file); err != nil {
				f = nil
				return nil, err
			}
			open = s.file
		}
		from := len(buf)
		buf = buf[:from+int(s.size)]
		if _, err := f.ReadAt(buf[from:], s.offset); err != nil && err != io.EOF {
			return nil, refuse("%s in the checkpoint cannot be read: %v", p.Files[s.file].Path, err)
		}
		if sha256.Sum256(buf[from:]) != s.sum {
			return nil, p.changed(s.file)
		}
	}
	return buf, nil
}

// manifest returns the manifest, once the names of the new packs are known.
func (p *plan) manifest(sent []entropy.CheckpointPart) (*entropy.CheckpointManifest, error) {
	if len(sent) != len(p.send) {
		return nil, fmt.Errorf("%d packs of %d were sent", len(sent), len(p.send))
	}
	m := p.CheckpointManifest
	m.Files = append([]entropy.CheckpointFile{}, p.Files...)
	m.Packs = append(append([]entropy.CheckpointPart{}, p.kept...), sent...)
	for i, list := range p.pieces {
		for _, x := range list {
			m.Files[i].Chunks = m.Files[i].Chunks.Append(p.where[x.sum])
		}
	}
	return &m, nil
}

func partOf(b []byte) entropy.CheckpointPart {
	sum := sha256.Sum256(b)
	return entropy.CheckpointPart{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}
