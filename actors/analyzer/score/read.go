package score

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Case is one run of a process: its steps in order.
type Case struct {
	ID    string
	Steps []string
}

// maxCases bounds how many cases or rows a file may hold.
const maxCases = 10_000_000

// ReadXES reads the cases of an event log (IEEE 1849-2016), in the order of
// the file, each event named by its concept:name.
func ReadXES(r io.Reader) ([]Case, error) {
	d := xml.NewDecoder(r)
	var cases []Case
	depth, trace, event := 0, -1, -1 // the depths at which the open trace and event began
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) && depth == 0 {
			return cases, nil
		}
		if err != nil {
			return nil, fmt.Errorf("event log: %w", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			depth++
			switch name := e.Name.Local; {
			case name == "trace" && trace < 0:
				if len(cases) == maxCases {
					return nil, fmt.Errorf("event log: more than %d traces", maxCases)
				}
				trace, cases = depth, append(cases, Case{})
			case name == "event" && trace >= 0 && event < 0:
				event = depth
			case name == "string" && attribute(e, "key") == "concept:name":
				last := len(cases) - 1
				switch {
				case event >= 0 && depth == event+1:
					cases[last].Steps = append(cases[last].Steps, attribute(e, "value"))
				case event < 0 && trace >= 0 && depth == trace+1:
					cases[last].ID = attribute(e, "value")
				}
			}
		case xml.EndElement:
			if depth == event {
				event = -1
			}
			if depth == trace {
				trace = -1
			}
			depth--
		}
	}
}

func attribute(e xml.StartElement, key string) string {
	for _, a := range e.Attr {
		if a.Name.Local == key {
			return a.Value
		}
	}
	return ""
}

// ReadSequences reads one case a line: its steps, separated by spaces, after
// an optional id and a comma. Empty lines are left out.
func ReadSequences(r io.Reader) ([]Case, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<20)
	var cases []Case
	for s.Scan() {
		line := s.Text()
		var c Case
		if i := strings.LastIndexByte(line, ','); i >= 0 {
			c.ID, line = line[:i], line[i+1:]
		}
		if c.Steps = strings.Fields(line); len(c.Steps) == 0 {
			continue
		}
		if len(cases) == maxCases {
			return nil, fmt.Errorf("sequences: more than %d cases", maxCases)
		}
		cases = append(cases, c)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("sequences: %w", err)
	}
	return cases, nil
}

// ReadSeries reads a series of NAB: a header, then a timestamp and a value a
// row.
func ReadSeries(name string, r io.Reader) (Series, error) {
	s := Series{Name: name}
	c := csv.NewReader(r)
	c.ReuseRecord = true
	if _, err := c.Read(); err != nil {
		return s, fmt.Errorf("%s: header: %w", name, err)
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		if len(row) < 2 || len(s.Times) == maxCases {
			return s, fmt.Errorf("%s: row %d: a timestamp and a value are wanted, in at most %d rows", name, len(s.Times)+1, maxCases)
		}
		at, err := parseTime(row[0])
		if err != nil {
			return s, fmt.Errorf("%s: row %d: %w", name, len(s.Times)+1, err)
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return s, fmt.Errorf("%s: row %d: %q is not a finite number", name, len(s.Times)+1, row[1])
		}
		s.Times, s.Values = append(s.Times, at), append(s.Values, v)
	}
}

// ReadWindows reads NAB's combined_windows.json: the labeled windows of each
// series.
func ReadWindows(r io.Reader) (map[string][]Window, error) {
	var raw map[string][][2]string
	if err := json.NewDecoder(r).Decode(&raw); err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	all := make(map[string][]Window, len(raw))
	for name, pairs := range raw {
		for _, p := range pairs {
			from, err1 := parseTime(p[0])
			to, err2 := parseTime(p[1])
			if err := errors.Join(err1, err2); err != nil {
				return nil, fmt.Errorf("labels of %s: %w", name, err)
			}
			all[name] = append(all[name], Window{from, to})
		}
	}
	return all, nil
}

// parseTime reads NAB's timestamps, with or without a fraction of seconds.
func parseTime(s string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05", strings.TrimSpace(s))
}
