package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	chproto "github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// handler speaks ClickHouse's HTTP protocol before an engine.
type handler struct {
	engine         *engine
	user, password string
	scratch        string // folder of the blocks on their way in
}

// transport are the parameters of a request that are no settings of its query.
var transport = []string{"query", "query_id", "database", "default_format", "compress", "decompress", "network_compression_method",
	"client_protocol_version", "wait_end_of_query", "user", "password"}

// ServeHTTP carries out one query: of the parameter and the body together, as
// ClickHouse does; the body of an insert is a Native block.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := h.serve(r)
	if err != nil {
		code := 1002
		if x, ok := errors.AsType[*exception](err); ok {
			code = x.code
		}
		w.Header().Set("X-ClickHouse-Exception-Code", fmt.Sprint(code))
		status := http.StatusInternalServerError
		if code == authenticationFailed {
			status = http.StatusForbidden
		}
		http.Error(w, err.Error(), status)
		return
	}
	_, _ = w.Write(out) // who asked has gone
}

// authenticationFailed is ClickHouse's code.
const authenticationFailed = 516

func (h *handler) serve(r *http.Request) ([]byte, error) {
	q := r.URL.Query()
	name, password, ok := r.BasicAuth()
	if !ok && q.Has("user") {
		name, password = q.Get("user"), q.Get("password")
	} else if !ok {
		name, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if name != h.user || password != h.password {
		return nil, &exception{authenticationFailed, fmt.Sprintf("Code: 516. DB::Exception: %s: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)", name)}
	}
	var body io.Reader = r.Body
	if q.Get("decompress") == "1" {
		body = compress.NewReader(body)
	}
	query := q.Get("query")
	if query == "" {
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		return h.answer(q, with(string(b), settings(q)))
	}
	if !insert.MatchString(query) {
		return h.answer(q, with(query, settings(q)))
	}
	return nil, h.insert(q, query, body)
}

var (
	insert = regexp.MustCompile(`(?is)^\s*INSERT\s`)
	tail   = regexp.MustCompile(`(?is)\s*(VALUES|FORMAT\s+\w+)\s*$`)
	values = regexp.MustCompile(`(?is)^(\s*INSERT\s[^']*?)(\sVALUES\s.*)$`)
	reads  = regexp.MustCompile(`(?is)^\s*(SELECT|WITH)\s`)
)

// with puts settings into a query that takes them: other queries need none.
func with(query, settings string) string {
	if m := values.FindStringSubmatch(query); m != nil {
		return m[1] + settings + m[2]
	}
	if reads.MatchString(query) {
		return query + settings
	}
	return query
}

// insert gives the engine a block by a file: its C interface takes queries as text.
func (h *handler) insert(q url.Values, query string, body io.Reader) error {
	f, err := os.CreateTemp(h.scratch, "block-*.native")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the folder goes with the test
	_, err = io.Copy(f, body)
	if errors.Is(err, io.EOF) {
		err = nil // the end of the last compressed frame
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	query = tail.ReplaceAllString(query, "") + " FROM INFILE '" + f.Name() + "'" + settings(q) + " FORMAT Native"
	_, err = h.engine.run(q.Get("database"), query)
	return err
}

// settings returns the settings that a request has for its query, as SQL.
func settings(q url.Values) string {
	var all []string
	for k := range q {
		if !slices.Contains(transport, k) && !strings.HasPrefix(k, "param_") {
			all = append(all, k+" = '"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(q.Get(k))+"'")
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return " SETTINGS " + strings.Join(all, ", ")
}

// answer returns the result of a query, its blocks as the client's revision has them.
func (h *handler) answer(q url.Values, query string) ([]byte, error) {
	result, err := h.engine.run(q.Get("database"), query)
	if err != nil || len(result) == 0 {
		return nil, err
	}
	var all []byte
	rd := proto.NewReader(bytes.NewReader(result))
	for {
		b := chproto.NewBlock()
		if err := b.Decode(rd, 0); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		var out proto.Buffer
		if err := b.Encode(&out, clickhouse.ClientTCPProtocolVersion); err != nil {
			return nil, err
		}
		if q.Get("compress") == "1" {
			c := compress.NewWriter(compress.LevelZero, compress.LZ4)
			if err := c.Compress(out.Buf); err != nil {
				return nil, err
			}
			out.Buf = c.Data
		}
		all = append(all, out.Buf...)
	}
}
