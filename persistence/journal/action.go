package journal

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// This file keeps what lists of actions need. An action is a document like others;
// beside it stands a row by which lists find it.

// actionRow is a row of the table action, without the ordinal.
type actionRow struct{ id, state, command, tenant, target string }

func newActionRow(a *entropy.Action) *actionRow {
	return &actionRow{string(a.ID), string(a.State), a.Spec.Command, a.Tenant, a.Target}
}

// storeAction writes the row of an action. Only its state ever changes.
func (t *tx) storeAction(n *net) error {
	r := n.last.doc.action
	if r == nil {
		return nil
	}
	if n.expected == 0 {
		_, err := t.w.insertAction.exec(n.last.no, r.id, r.state, r.command, r.tenant, r.target)
		return refuse(err, "%s exists already", n.last.change.Entity)
	}
	_, err := t.w.updateAction.exec(r.state, n.last.no)
	return err
}

// maxPage is about how many bytes of records a page of actions is made from.
const maxPage = 8 << 20

// Actions lists actions, the newest first, whole. Cursor is Next of the page
// before. A page has fewer than were asked for when they are large. A state, a command and a target each have an index. It returns
// CodeInvalid for a cursor that no page gave.
func (r *Reader) Actions(ctx context.Context, f entropy.ActionFilter) (entropy.ActionPage, error) {
	limit := min(cmp.Or(f.Limit, defaultList), entropy.MaxBatch)
	before, err := parseCursor(f.Cursor)
	if err != nil || limit < 0 {
		return entropy.ActionPage{}, entropy.Errorf(entropy.CodeInvalid, "the cursor or the limit of the listing is invalid").
			WithHint("use next of the page before as the cursor, and a limit of 1 to %d", entropy.MaxBatch)
	}
	where, args := []string{"a.ordinal < ?"}, []driver.Value{before}
	and := func(column, want string) {
		if want != "" {
			where, args = append(where, "a."+column+" = ?"), append(args, want)
		}
	}
	and("command", f.Command)
	and("tenant", f.Tenant)
	and("target", f.Target)
	if len(f.States) > 0 {
		where = append(where, "a.state IN (?"+strings.Repeat(",?", len(f.States)-1)+")")
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	page := entropy.ActionPage{Actions: []*entropy.Action{}}
	var last int64
	size := 0
	err = r.snapshot(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT a.ordinal, d.record FROM action a JOIN doc d ON d.kind = 'action' AND d.id = a.id WHERE "+strings.Join(where, " AND ")+
			" ORDER BY a.ordinal DESC LIMIT ?", append(args, int64(limit+1)), func(row []driver.Value) error {
			if size += len(str(row[1])); len(page.Actions) == limit || size > maxPage && len(page.Actions) > 0 {
				size = maxPage + 1
				page.Next = strconv.FormatInt(last, 36)
				return nil
			}
			a := new(entropy.Action)
			if err := json.Unmarshal([]byte(str(row[1])), a); err != nil {
				return fmt.Errorf("action %d: %w", num(row[0]), err)
			}
			page.Actions, last = append(page.Actions, a), num(row[0])
			return nil
		})
	})
	return page, err
}

// compareAction checks the row of the action that was just replayed.
func (v *verifier) compareAction(p *replay, a *entropy.Action) error {
	v.actions++
	row, err := v.c.one(v.ctx, "SELECT id, state, command, tenant, target FROM action WHERE ordinal=?", p.no)
	if err != nil {
		return err
	}
	if row == nil {
		v.problem(p.lastSeq, p.name, "it has no row in the table action")
		return nil
	}
	got := actionRow{str(row[0]), str(row[1]), str(row[2]), str(row[3]), str(row[4])}
	if want := newActionRow(a); got != *want {
		v.problem(p.lastSeq, p.name, "the table action has %+v, a replay gives %+v", got, *want)
	}
	return nil
}

// hasActions reports whether the file is of a format with actions: one that is only
// read may be older than this program.
func (v *verifier) hasActions() (bool, error) {
	n, err := v.c.number(v.ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'action'")
	return n > 0, err
}
