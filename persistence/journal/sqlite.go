package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/mattn/go-sqlite3"
)

// The driver is used below database/sql: one writer with prepared statements has
// no use for a pool, and its cost per statement would be a third of the whole.

// conn is one SQLite connection. It is not safe for concurrent use.
type conn struct{ *sqlite3.SQLiteConn }

// The ways to open the file.
type mode string

const (
	modeCreate mode = "rwc"
	modeWrite  mode = "rw"
	modeRead   mode = "ro"
)

// synchronous is the value of the pragma that makes a commit wait for fsync. The
// driver sets NORMAL behind the caller's back unless told, and NORMAL loses
// acknowledged rows at power loss.
const synchronous = "FULL"

// dsn names the file with every setting that matters spelled out.
func dsn(path string, m mode, sync string) string {
	q := url.Values{"mode": {string(m)}, "_mutex": {"no"}, "_busy_timeout": {"5000"}, "_foreign_keys": {"0"}}
	switch m {
	case modeRead:
		q.Set("_query_only", "1")
		q.Set("_stmt_cache_size", "32")
	case modeCreate, modeWrite:
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", sync)
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	return u.String()
}

// connect opens the file. Mmap stays off: it turns an I/O error into SIGBUS.
func connect(path string, m mode, sync string) (*conn, error) {
	d := new(sqlite3.SQLiteDriver)
	c, err := d.Open(dsn(path, m, sync))
	if err != nil {
		return nil, err
	}
	cn := &conn{c.(*sqlite3.SQLiteConn)}
	for _, p := range []string{"trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY", "mmap_size=0"} {
		if err := cn.run("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, cn.Close())
		}
	}
	return cn, nil
}

// run executes statements without arguments or results.
func (c *conn) run(sql string) error {
	_, err := c.ExecContext(context.Background(), sql, nil)
	return err
}

// exec executes one statement that is not worth preparing.
func (c *conn) exec(sql string, args ...driver.Value) error {
	_, err := c.ExecContext(context.Background(), sql, named(args))
	return err
}

func named(args []driver.Value) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, v := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return out
}

// each calls f with every row of a query. The slice is reused.
func (c *conn) each(ctx context.Context, sql string, args []driver.Value, f func(row []driver.Value) error) (err error) {
	rows, err := c.QueryContext(ctx, sql, named(args))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(row); err != nil {
			return err
		}
	}
}

// one returns the first row of a query, or nil.
func (c *conn) one(ctx context.Context, sql string, args ...driver.Value) ([]driver.Value, error) {
	var first []driver.Value
	err := c.each(ctx, sql, args, func(row []driver.Value) error {
		if first == nil {
			first = append(first, row...)
		}
		return nil
	})
	return first, err
}

// number returns the first column of the first row as an integer; 0 for NULL or
// for no row.
func (c *conn) number(ctx context.Context, sql string, args ...driver.Value) (int64, error) {
	row, err := c.one(ctx, sql, args...)
	if err != nil || len(row) == 0 {
		return 0, err
	}
	switch v := row[0].(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	case string:
		return strconv.ParseInt(v, 10, 64)
	}
	return 0, fmt.Errorf("%s: got a %T", sql, row[0])
}

// text returns the first column of the first row, "" for no row.
func (c *conn) text(ctx context.Context, sql string, args ...driver.Value) (string, error) {
	row, err := c.one(ctx, sql, args...)
	if err != nil || len(row) == 0 {
		return "", err
	}
	s, ok := row[0].(string)
	if !ok {
		return "", fmt.Errorf("%s: got a %T", sql, row[0])
	}
	return s, nil
}

// The columns of a row. STRICT tables hold what their schema says, so a value of
// another type is a fault of this program.
func str(v driver.Value) string {
	s, _ := v.(string)
	return s
}

func num(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

// cursor is a query that is read row by row beside another.
type cursor struct {
	rows driver.Rows
	row  []driver.Value
}

func (c *conn) cursor(ctx context.Context, sql string) (*cursor, error) {
	rows, err := c.QueryContext(ctx, sql, nil)
	if err != nil {
		return nil, err
	}
	return &cursor{rows: rows, row: make([]driver.Value, len(rows.Columns()))}, nil
}

// next returns the next row, which it reuses, or nil after the last.
func (c *cursor) next() ([]driver.Value, error) {
	switch err := c.rows.Next(c.row); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return c.row, nil
}

func (c *cursor) close() {
	_ = c.rows.Close() // what it read was good
}
