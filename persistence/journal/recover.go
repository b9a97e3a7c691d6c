package journal

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
)

// tailBatches and tailEvents bound how much of the newest history Open checks. It is
// what a crash can have touched; the whole is for Verify.
const (
	tailBatches = 64
	tailEvents  = 20_000
)

// recover finds where the journal stands, and checks that its tail is whole.
// SQLite has by then dropped what a crash left unfinished.
func (w *writer) recover(ctx context.Context, clusterID string) error {
	seq, err1 := w.number(ctx, "SELECT max(seq) FROM event")
	entities, err2 := w.number(ctx, "SELECT max(no) FROM entity")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	w.seq, w.entities = uint64(seq), entities
	chain, err := checkTail(ctx, w.conn, w.seq, clusterID)
	if err != nil {
		return err
	}
	w.chain = chain
	return quickCheck(ctx, w.conn)
}

// quickCheckBytes is the size up to which a start has SQLite check the structure of
// the whole file. A larger one would make the start slow; Verify checks it.
const quickCheckBytes = 64 << 20

func quickCheck(ctx context.Context, c *conn) error {
	bytes, err := c.number(ctx, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
	if err != nil || bytes > quickCheckBytes {
		return err
	}
	found, err := c.text(ctx, "PRAGMA quick_check(1)")
	if err == nil && found != "ok" {
		err = damagedAt(0, "%s", found)
	}
	return err
}

// sealRow is a row of batch_seal.
type sealRow struct {
	last uint64
	sum  chain
}

func scanSeal(row []driver.Value) (s sealRow, err error) {
	b, _ := row[1].([]byte)
	if len(b) != sha256.Size {
		return sealRow{last: uint64(num(row[0]))}, damagedAt(uint64(num(row[0])), "its seal has %d bytes", len(b))
	}
	return sealRow{last: uint64(num(row[0])), sum: chain(b)}, nil
}

// checkTail verifies checksums, sequence and seals of the newest batches, and
// returns the newest seal.
func checkTail(ctx context.Context, c *conn, seq uint64, clusterID string) (chain, error) {
	var seals []sealRow // newest first
	err := c.each(ctx, "SELECT last_seq, sha256 FROM batch_seal ORDER BY last_seq DESC LIMIT ?", []driver.Value{int64(tailBatches + 1)},
		func(row []driver.Value) error {
			s, err := scanSeal(row)
			seals = append(seals, s)
			return err
		})
	if err != nil {
		return chain{}, err
	}
	if len(seals) <= tailBatches { // all there are: the chain's beginning is known
		seals = append(seals, sealRow{0, genesis(clusterID)})
	}
	if seals[0].last != seq {
		return chain{}, damagedAt(seq, "the newest event is %d, the newest seal is of %d", seq, seals[0].last)
	}
	base := 1
	for base < len(seals)-1 && seq-seals[base].last < tailEvents {
		base++
	}
	if len(seals) == 1 {
		base = 0
	}
	k := &checker{next: seals[base].last + 1}
	k.start(seals[base].sum)
	for i := base - 1; i >= 0; i-- {
		if err := k.batch(ctx, c, seals[i]); err != nil {
			return chain{}, err
		}
	}
	return seals[0].sum, nil
}

// damageError is damage to a journal's rows, at a position.
type damageError struct {
	seq uint64
	msg string
}

func (e *damageError) Error() string { return fmt.Sprintf("at seq %d: %s", e.seq, e.msg) }

func damagedAt(seq uint64, format string, args ...any) error {
	return &damageError{seq, fmt.Sprintf(format, args...)}
}

// checker follows the events in order and checks each against its checksum and
// each batch against its seal.
type checker struct {
	sealer
	next uint64 // the seq expected
	buf  []byte
}

// eventColumns and eventTables select what decodeRow and checker.row read. The
// cross join keeps the order of the tables: the events decide what is looked up.
const (
	eventColumns = "v.seq, n.name, v.version, v.type, v.body, v.crc"
	eventTables  = " FROM event v CROSS JOIN entity n ON n.no = v.entity "
)

// batch checks the events up to a seal.
func (k *checker) batch(ctx context.Context, c *conn, s sealRow) error {
	err := c.each(ctx, "SELECT "+eventColumns+eventTables+"WHERE v.seq >= ? AND v.seq <= ? ORDER BY v.seq", []driver.Value{int64(k.next), int64(s.last)}, k.row)
	if err != nil {
		return err
	}
	return k.seal(s)
}

// row checks one event. Its damage does not keep the next from being checked.
func (k *checker) row(row []driver.Value) error {
	seq := uint64(num(row[0]))
	if seq != k.next {
		missing := k.next
		k.next = seq + 1
		return damagedAt(missing, "events %d to %d are missing", missing, seq-1)
	}
	k.next++
	k.buf = append(appendHead(k.buf[:0], str(row[1]), uint64(num(row[2])), str(row[3])), str(row[4])...)
	digest := sha256.Sum256(k.buf)
	k.add(seq, &digest)
	if int64(sealCRC(crc32.Checksum(k.buf, castagnoli), seq)) != num(row[5]) {
		return damagedAt(seq, "event %d (%s of %s) does not match its checksum", seq, str(row[3]), str(row[1]))
	}
	return nil
}

// seal checks that the events since the seal before add up to s, and starts the next.
func (k *checker) seal(s sealRow) error {
	got := k.sum()
	k.start(s.sum)
	if k.next != s.last+1 {
		missing := k.next
		k.next = s.last + 1
		return damagedAt(missing, "events %d to %d are missing", missing, s.last)
	}
	if got != s.sum {
		return damagedAt(s.last, "the batch that ends at %d does not match its seal", s.last)
	}
	return nil
}
