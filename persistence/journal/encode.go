package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// This file runs in the callers' goroutines: by the time a request is queued, all
// that is left to do is to bind and to step.

// request is one append on its way through the writer.
type request struct {
	entries  []entry
	events   int
	bytes    int
	first    uint64 // seq of the first event, once written
	liveness string // not "": the liveness record to store

	state status
	done  chan struct{} // closed when err and first are final
	err   error
}

// entry is a change made ready for the writer.
type entry struct {
	change entropy.Change // its Events are the journal's own copy
	rows   []eventRow
	no     int64   // of the entity, once the writer has looked
	job    *jobRow // nil: the state is a doc, or there are no events
	doc    *docRow
	lease  leaseStep
	claims []grant
}

// eventRow is a row of the table event, without its seq.
type eventRow struct {
	body   string
	crc    uint32            // CRC-32C over the canonical row, without its seq
	digest [sha256.Size]byte // SHA-256 of the same
}

// docRow is a row of the table doc.
type docRow struct {
	kind, id, record string
	action           *actionRow // of an action
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// prepare checks and encodes an append. Buffers holds scratch space, as *[]byte.
func prepare(changes []entropy.Change, buffers *sync.Pool) (*request, error) {
	buf, ok := buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer buffers.Put(buf)
	r := &request{entries: make([]entry, len(changes)), done: make(chan struct{})}
	for i := range changes {
		e := &r.entries[i]
		e.change = changes[i]
		if err := e.encode(buf); err != nil {
			return nil, err
		}
		r.events += len(e.rows)
		for k := range e.rows {
			r.bytes += len(e.rows[k].body)
		}
		if e.job != nil {
			r.bytes += len(e.job.record) + len(e.job.spec)
		}
	}
	return r, nil
}

// encode makes the rows of a change, with buf for scratch space.
func (e *entry) encode(buf *[]byte) error {
	c := &e.change
	if len(c.Events) == 0 && c.Operation == nil {
		return fault(c, "it has neither events nor an operation")
	}
	c.Events = slices.Clone(c.Events)
	e.rows = make([]eventRow, len(c.Events))
	for i := range c.Events {
		ev := &c.Events[i]
		if ev.ID == "" || ev.Type == "" {
			return fault(c, "an event has no id or no type")
		}
		ev.EntityID, ev.Version = c.Entity, c.Expected+uint64(i)+1
		canon, at, err := appendEvent((*buf)[:0], ev)
		if err != nil {
			return fault(c, err.Error())
		}
		*buf = canon
		e.rows[i] = eventRow{body: string(canon[at:]), crc: crc32.Checksum(canon, castagnoli), digest: sha256.Sum256(canon)}
	}
	if len(c.Events) == 0 {
		return nil
	}
	return e.encodeState()
}

// encodeState makes the derived rows from the state after the events.
func (e *entry) encodeState() (err error) {
	c := &e.change
	var entity string
	var version uint64
	switch s := c.State.(type) {
	case *entropy.Job:
		entity, version = entropy.Entity(entropy.KindJob, string(s.ID)), s.Version
		if e.job, err = newJobRow(s, stateBefore(c), c.Expected); err == nil {
			err = e.planLease(s)
		}
	case *entropy.Worker:
		entity, version = entropy.Entity(entropy.KindWorker, string(s.ID)), s.Version
		e.doc, err = newDocRow(entropy.KindWorker, string(s.ID), plain(s))
	case *entropy.Token:
		entity, version = entropy.Entity(entropy.KindToken, s.ID), s.Version
		e.doc, err = newDocRow(entropy.KindToken, s.ID, s)
	case entropy.Document:
		entity, version = s.Entity()
		kind, id := entropy.SplitEntity(entity)
		e.doc, err = newDocRow(kind, id, s)
		if a, ok := s.(*entropy.Action); ok {
			e.doc.action = newActionRow(a)
		}
	default:
		return fault(c, fmt.Sprintf("its state is a %T", c.State))
	}
	switch {
	case err != nil:
		return fault(c, err.Error())
	case entity != c.Entity:
		return fault(c, "its state is that of "+entity)
	case version != c.Expected+uint64(len(c.Events)):
		return fault(c, fmt.Sprintf("its state has version %d after %d events on version %d", version, len(c.Events), c.Expected))
	}
	return nil
}

// fault reports a change that no journal could store: a bug of the caller.
func fault(c *entropy.Change, why string) error {
	return entropy.Errorf(entropy.CodeInternal, "append %s: %s", c.Entity, why)
}

// appendEvent appends the canonical form of an event's row, without its seq: what
// the checksum and the seal are computed over. Its end, from the returned offset,
// is the body.
func appendEvent(b []byte, e *entropy.Event) (_ []byte, body int, err error) {
	b = appendHead(b, e.EntityID, e.Version, e.Type)
	body = len(b)
	b, err = appendBody(b, e)
	return b, body, err
}

func appendHead(b []byte, entity string, version uint64, typ string) []byte {
	b = binary.BigEndian.AppendUint64(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(entity)))
	b = append(b, entity...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(typ)))
	return append(b, typ...)
}

// sealCRC completes a row's checksum with its seq.
func sealCRC(crc uint32, seq uint64) uint32 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seq)
	return crc32.Update(crc, castagnoli, b[:])
}

// chain is the running hash of the seals.
type chain [sha256.Size]byte

// genesis returns the seal before the first: each cluster has its own.
func genesis(clusterID string) chain { return sha256.Sum256([]byte("entropy journal " + clusterID)) }

// sealer computes the next seal over the rows of a batch.
type sealer struct{ buf []byte }

func (s *sealer) start(prev chain) { s.buf = append(s.buf[:0], prev[:]...) }

func (s *sealer) add(seq uint64, digest *[sha256.Size]byte) {
	s.buf = binary.BigEndian.AppendUint64(s.buf, seq)
	s.buf = append(s.buf, digest[:]...)
}

func (s *sealer) sum() chain { return sha256.Sum256(s.buf) }
