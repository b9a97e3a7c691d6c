package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine is ClickHouse in this process. It answers one query at a time.
type engine struct {
	mu       sync.Mutex
	conn     unsafe.Pointer
	database string // that was last used

	query  func(conn unsafe.Pointer, query string, size uint64, format string, formatSize uint64) unsafe.Pointer
	buffer func(result unsafe.Pointer) unsafe.Pointer
	length func(result unsafe.Pointer) uint64
	err    func(result unsafe.Pointer) string
	free   func(result unsafe.Pointer)
}

// load loads libchdb.so and opens a data directory with it.
func load(lib, dir string) (*engine, error) {
	h, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	e := &engine{database: "default"}
	var connect func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	var signals func(enabled int32)
	purego.RegisterLibFunc(&connect, h, "chdb_connect")
	purego.RegisterLibFunc(&signals, h, "chdb_set_signal_handlers_enabled")
	purego.RegisterLibFunc(&e.query, h, "chdb_query_n")
	purego.RegisterLibFunc(&e.buffer, h, "chdb_result_buffer")
	purego.RegisterLibFunc(&e.length, h, "chdb_result_length")
	purego.RegisterLibFunc(&e.err, h, "chdb_result_error")
	purego.RegisterLibFunc(&e.free, h, "chdb_destroy_query_result")
	signals(0) // they are Go's
	name, path := append([]byte("clickhouse"), 0), append([]byte("--path="+dir), 0)
	argv := []unsafe.Pointer{unsafe.Pointer(&name[0]), unsafe.Pointer(&path[0])}
	conn := connect(int32(len(argv)), unsafe.Pointer(&argv[0]))
	if conn == nil {
		return nil, fmt.Errorf("the engine does not open %s", dir)
	}
	e.conn = *(*unsafe.Pointer)(conn)
	return e, nil
}

// exception is what the engine says is wrong, with ClickHouse's own code.
type exception struct {
	code    int
	message string
}

func (e *exception) Error() string { return e.message }

var codeOf = regexp.MustCompile(`Code: (\d+)\.`)

// run carries out a query in a database and returns the result in the format Native.
func (e *engine) run(database, query string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if database != "" && database != e.database {
		if _, err := e.do("USE `" + database + "`"); err != nil {
			return nil, err
		}
		e.database = database
	}
	return e.do(query)
}

func (e *engine) do(query string) ([]byte, error) {
	const format = "Native"
	r := e.query(e.conn, query, uint64(len(query)), format, uint64(len(format)))
	if r == nil {
		return nil, errors.New("the engine gave no result")
	}
	defer e.free(r)
	if msg := e.err(r); msg != "" {
		x := &exception{code: 1002, message: msg} // UNKNOWN_EXCEPTION
		if m := codeOf.FindStringSubmatch(msg); m != nil {
			x.code, _ = strconv.Atoi(m[1])
		}
		return nil, x
	}
	n := e.length(r)
	if n == 0 {
		return nil, nil
	}
	out := make([]byte, n)
	copy(out, unsafe.Slice((*byte)(e.buffer(r)), n))
	return out, nil
}
