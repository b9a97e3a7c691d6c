package journal

import (
	"cmp"
	"context"
	"database/sql/driver"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// The limits of a page of events. eventWindow is how many rows one read
// transaction looks through for those of a type.
const (
	defaultEvents = 1_000
	maxEvents     = 10_000
	eventWindow   = 50_000
)

// Events returns journaled events after a position, oldest first, as
// [entropy.Service] documents it, but does not wait: f.Wait is ignored. An empty
// page's Next is the newest position. CodeConflict when After names another epoch
// or a position not yet reached.
func (r *Reader) Events(ctx context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	newest, err := r.newestSeq(ctx)
	if err != nil {
		return entropy.EventPage{}, err
	}
	page := entropy.EventPage{Next: entropy.Position{Epoch: r.epoch, Seq: newest}}
	if f.Latest {
		return page, nil
	}
	switch {
	case f.After != (entropy.Position{}) && f.After.Epoch != r.epoch:
		return page, entropy.Errorf(entropy.CodeConflict, "position %s is of epoch %d, the journal is in epoch %d", f.After, f.After.Epoch, r.epoch).
			WithHint("the history was restored or promoted since: read it again from the beginning")
	case f.After.Seq > newest:
		return page, entropy.Errorf(entropy.CodeConflict, "position %s is not reached yet, the newest is %s", f.After, page.Next).
			WithHint("is this the control plane the position came from?")
	}
	limit := max(1, min(cmp.Or(f.Limit, defaultEvents), maxEvents))
	if f.Entity != "" {
		err = r.entityEvents(ctx, &f, limit, newest, &page)
	} else {
		err = r.allEvents(ctx, &f, limit, newest, &page)
	}
	return page, err
}

func (r *Reader) newestSeq(ctx context.Context) (seq uint64, err error) {
	if r.newest != nil {
		return r.newest(), nil
	}
	err = r.with(ctx, func(c *conn) error {
		n, err := c.number(ctx, "SELECT max(seq) FROM event")
		seq = uint64(n)
		return err
	})
	return seq, err
}

// allEvents reads window by window until it has an event or has seen them all.
func (r *Reader) allEvents(ctx context.Context, f *entropy.EventFilter, limit int, newest uint64, page *entropy.EventPage) error {
	for after := f.After.Seq; after < newest && len(page.Events) == 0; {
		upto := newest
		cond, args := "", []driver.Value{int64(after)}
		if f.Type != "" {
			upto = min(newest, after+eventWindow)
			cond, args = typeCondition(f.Type, args)
		}
		sql := "SELECT " + eventColumns + eventTables + "WHERE v.seq > ?" + cond + " AND v.seq <= ? ORDER BY v.seq LIMIT ?"
		if err := r.readEvents(ctx, sql, append(args, int64(upto), int64(limit)), page); err != nil {
			return err
		}
		if len(page.Events) == limit {
			upto = page.Events[limit-1].Seq
		}
		after = upto
		page.Next.Seq = upto
	}
	return nil
}

// entityEvents reads along the entity's own index.
func (r *Reader) entityEvents(ctx context.Context, f *entropy.EventFilter, limit int, newest uint64, page *entropy.EventPage) error {
	cond, args := "", []driver.Value{f.Entity, int64(f.After.Seq)}
	if f.Type != "" {
		cond, args = typeCondition(f.Type, args)
	}
	sql := "SELECT " + eventColumns + eventTables + "WHERE v.entity = (SELECT no FROM entity WHERE name = ?) AND +v.seq > ?" + cond +
		" AND +v.seq <= ? ORDER BY v.version LIMIT ?"
	if err := r.readEvents(ctx, sql, append(args, int64(newest), int64(limit)), page); err != nil {
		return err
	}
	if len(page.Events) == limit {
		page.Next.Seq = page.Events[limit-1].Seq
	}
	return nil
}

// typeCondition selects a type, or all that begin with a prefix that ends in ".".
func typeCondition(typ string, args []driver.Value) (string, []driver.Value) {
	if prefix, ok := strings.CutSuffix(typ, "."); ok {
		return " AND v.type > ? AND v.type < ?", append(args, typ, prefix+"/") // "/" follows "."
	}
	return " AND v.type = ?", append(args, typ)
}

func (r *Reader) readEvents(ctx context.Context, sql string, args []driver.Value, page *entropy.EventPage) error {
	return r.with(ctx, func(c *conn) error {
		return c.each(ctx, sql, args, func(row []driver.Value) error {
			e, err := decodeRow(row)
			if err == nil {
				page.Events = append(page.Events, e)
			}
			return err
		})
	})
}
