package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

// stmt is a prepared statement of the writer.
type stmt struct {
	s    driver.StmtExecContext
	args []driver.NamedValue
}

func (c *conn) statement(sql string) (*stmt, error) {
	s, err := c.PrepareContext(context.Background(), sql)
	if err != nil {
		return nil, err
	}
	return &stmt{s: s.(driver.StmtExecContext), args: named(make([]driver.Value, s.NumInput()))}, nil
}

// exec runs the statement and returns how many rows it changed.
func (s *stmt) exec(vals ...driver.Value) (int64, error) {
	for i, v := range vals {
		s.args[i].Value = v
	}
	res, err := s.s.ExecContext(context.Background(), s.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *stmt) close() error {
	if s == nil {
		return nil
	}
	return s.s.(driver.Stmt).Close()
}

// inserter gathers rows of one table and inserts many with one statement: a third
// faster than one by one.
type inserter struct {
	width int
	sizes []*stmt // for chunkRows[i] rows
	vals  []driver.Value
}

// chunkRows are the rows of an inserter's statements, largest first; any number
// of rows is a few of them.
var chunkRows = [...]int{64, 16, 4, 1}

func (c *conn) inserter(table string, columns ...string) (*inserter, error) {
	in := &inserter{width: len(columns)}
	row := "(" + strings.Repeat("?,", len(columns)-1) + "?)"
	for _, n := range chunkRows {
		s, err := c.statement("INSERT INTO " + table + "(" + strings.Join(columns, ",") + ") VALUES " +
			strings.Repeat(row+",", n-1) + row)
		if err != nil {
			return nil, errors.Join(err, in.close())
		}
		in.sizes = append(in.sizes, s)
	}
	return in, nil
}

// add gathers one row.
func (in *inserter) add(vals ...driver.Value) { in.vals = append(in.vals, vals...) }

// flush inserts what was gathered, in order.
func (in *inserter) flush() error {
	defer in.reset()
	rest := in.vals
	for i, s := range in.sizes {
		for n := chunkRows[i] * in.width; len(rest) >= n; rest = rest[n:] {
			if _, err := s.exec(rest[:n]...); err != nil {
				return err
			}
		}
	}
	return nil
}

// reset forgets what was gathered, and lets go of it.
func (in *inserter) reset() {
	clear(in.vals)
	in.vals = in.vals[:0]
}

func (in *inserter) close() error {
	var errs []error
	for _, s := range in.sizes {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
