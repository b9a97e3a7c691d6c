package ingest

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Normalizer brings what sources emit into the envelope. It is safe for
// concurrent use.
type Normalizer struct {
	rules   []rule
	maxTags int
	key     []byte

	mu   sync.Mutex
	seen map[string]map[string]bool // tag: values that are told apart
}

type rule struct {
	Rule
	match                                                map[string]pattern
	typ, entity, id, correlation, causation, key, system template
	tags                                                 map[string]template
}

// maxTagKeys bounds how many tags have their values counted; the tags of a rule
// are few, those of an envelope are whatever its sender likes.
const maxTagKeys = 1000

// Other is the value of a tag of which too many are told apart already.
const Other = "other"

// New returns a normalizer. CodeInvalid, naming everything that is wrong with cfg.
func New(cfg Config) (*Normalizer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Normalizer{maxTags: cmp.Or(cfg.MaxTagValues, DefaultMaxTagValues), key: cfg.HashKey, seen: make(map[string]map[string]bool)}
	for _, r := range cfg.Rules {
		c := rule{Rule: r, match: make(map[string]pattern), tags: make(map[string]template)}
		for path, p := range r.Match {
			c.match[path] = parsePattern(p)
		}
		for name, t := range r.Tags {
			c.tags[name] = must(t)
		}
		c.typ, c.entity, c.id = must(r.Type), must(r.Entity), must(r.ID)
		c.correlation, c.causation, c.key, c.system = must(r.Correlation), must(r.Causation), must(r.IdempotencyKey), must(r.System)
		n.rules = append(n.rules, c)
	}
	return n, nil
}

// must parses a template that was validated.
func must(s string) template {
	t, err := parseTemplate(s)
	if err != nil {
		panic(err)
	}
	return t
}

// Normalize returns what an item says, or false when a rule discards it. The
// error says why it is not understood.
func (n *Normalizer) Normalize(item []byte) (o entropy.Observation, kept bool, err error) {
	doc, err := decode(item)
	if err != nil {
		return o, false, err
	}
	for i := range n.rules {
		if r := &n.rules[i]; r.matches(doc) {
			if r.Discard {
				return o, false, nil
			}
			if doc, err = r.apply(doc, n.key); err != nil {
				return o, false, fmt.Errorf("rule %s: %w", r.Name, err)
			}
			return n.finish(doc)
		}
	}
	if doc["event_type"] == nil || doc["entity_id"] == nil {
		return o, false, errors.New("no rule matches it, and it is not in the envelope: event_type or entity_id is missing")
	}
	return n.finish(doc)
}

// decode reads one JSON object and nothing else.
func decode(item []byte) (map[string]any, error) {
	if len(item) > entropy.MaxObservation {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(item), entropy.MaxObservation)
	}
	d := json.NewDecoder(bytes.NewReader(item))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	if doc == nil {
		return nil, errors.New("it is null and not a JSON object")
	}
	return doc, nil
}

func (r *rule) matches(doc map[string]any) bool {
	for path, p := range r.match {
		s, ok := scalar(lookup(doc, path))
		if !ok && r.Match[path] == "" {
			if v := lookup(doc, path); v == nil {
				continue
			}
		}
		if !ok || !p.match(s) {
			return false
		}
	}
	return true
}

// apply returns the envelope that the rule makes of doc, as a document.
func (r *rule) apply(doc map[string]any, key []byte) (map[string]any, error) {
	out := make(map[string]any)
	for name, t := range map[string]*template{"event_type": &r.typ, "entity_id": &r.entity, "id": &r.id, "correlation_id": &r.correlation,
		"causation_id": &r.causation, "idempotency_key": &r.key} {
		s, err := t.fill(doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if s != "" {
			out[name] = s
		}
	}
	system, err := r.system.fill(doc)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	out["source"] = map[string]any{"system": cmp.Or(system, r.Name), "ns": map[string]any{"rule": r.Name}}
	ts, err := moment(lookup(doc, r.TS))
	if err != nil {
		return nil, fmt.Errorf("ts: the field %s %w", r.TS, err)
	}
	out["ts"] = ts.Format(time.RFC3339Nano)
	tags, err := r.tagsOf(doc)
	if err != nil {
		return nil, err
	}
	attrs, err := r.attrsOf(doc)
	if err != nil {
		return nil, err
	}
	for _, name := range r.Hash {
		hash(tags, name, key)
		hash(attrs, name, key)
	}
	out["tags"], out["attrs"] = tags, attrs
	return out, nil
}

func (r *rule) tagsOf(doc map[string]any) (map[string]any, error) {
	tags := make(map[string]any, len(r.tags))
	for name, t := range r.tags {
		s, err := t.fill(doc)
		if err != nil {
			return nil, fmt.Errorf("tags.%s: %w", name, err)
		}
		tags[name] = s
	}
	return tags, nil
}

// attrsOf collects the attrs: those kept, then those named, then durations.
func (r *rule) attrsOf(doc map[string]any) (map[string]any, error) {
	attrs := make(map[string]any)
	if r.Keep {
		maps.Copy(attrs, doc)
		for from, to := range r.Rename {
			if v, ok := attrs[from]; ok {
				delete(attrs, from)
				attrs[to] = v
			}
		}
	}
	for name, path := range r.Attrs {
		if v := lookup(doc, path); v != nil {
			attrs[name] = v
		}
	}
	for name, span := range r.Durations {
		from, to := lookup(doc, span.From), lookup(doc, span.To)
		if from == nil || to == nil {
			continue // it has not ended, or not begun
		}
		a, err1 := moment(from)
		b, err2 := moment(to)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("durations.%s: a field %w", name, err)
		}
		attrs[name] = json.Number(strconv.FormatFloat(float64(b.Sub(a))/float64(time.Millisecond), 'f', -1, 64))
	}
	for _, name := range r.Drop {
		delete(attrs, name)
	}
	return attrs, nil
}

// hash replaces a value by its keyed hash (HMAC-SHA-256, 16 bytes): the same
// value stays the same, and nobody without the key can find out which it was.
func hash(fields map[string]any, name string, key []byte) {
	v, ok := fields[name]
	if !ok || v == nil {
		return
	}
	s, plain := scalar(v)
	if !plain {
		b, _ := json.Marshal(v) // it was decoded from JSON
		s = string(b)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(s))
	fields[name] = "hash:" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// lookup returns what a path leads to, nil when it leads nowhere. A field whose
// own name has dots is found by its whole name first.
func lookup(doc map[string]any, path string) any {
	if v, ok := doc[path]; ok {
		return v
	}
	var at any = doc
	for part := range strings.SplitSeq(path, ".") {
		switch in := at.(type) {
		case map[string]any:
			at = in[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			at = in[i]
		default:
			return nil
		}
	}
	return at
}

// scalar returns a plain value as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// formats are the times that sources write, beside numbers.
var formats = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02"}

// moment reads a time: one of formats, those without a zone in UTC, or a number
// since 1970 whose unit shows in its size: seconds up to 10^11, then
// milliseconds, microseconds and nanoseconds.
func moment(v any) (time.Time, error) {
	s, ok := scalar(v)
	if !ok || s == "" {
		return time.Time{}, errors.New("is absent, or no time")
	}
	for _, f := range formats {
		if t, err := time.Parse(f, s); err == nil {
			return t.UTC(), nil
		}
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || x < -1e19 || x > 1e19 {
		return time.Time{}, fmt.Errorf("is %.40q, which is no time that is understood", s)
	}
	unit := float64(time.Second)
	for limit := 1e11; (x > limit || x < -limit) && unit > 1; limit *= 1000 {
		unit /= 1000
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil { // exact
		d := int64(unit)
		return time.Unix(i/(1e9/d), i%(1e9/d)*d).UTC(), nil
	}
	whole, frac := math.Modf(x / (1e9 / unit)) // in seconds; a float64 of today's time is good for a microsecond
	return time.Unix(int64(whole), int64(frac*1e9)).Round(time.Microsecond).UTC(), nil
}

// tag bounds the values of a tag.
func (n *Normalizer) tag(name, value string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	values := n.seen[name]
	if values[value] {
		return value
	}
	if values == nil {
		if len(n.seen) >= maxTagKeys {
			return Other
		}
		values = make(map[string]bool)
		n.seen[name] = values
	}
	if len(values) >= n.maxTags {
		return Other
	}
	values[value] = true
	return value
}

// finish makes an event of an envelope, and says what is wrong with it.
func (n *Normalizer) finish(doc map[string]any) (o entropy.Observation, kept bool, err error) {
	for _, ours := range []string{"seq", "version"} { // places in the journal, where it is not
		delete(doc, ours)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return o, false, err
	}
	e := &o.Event
	if err := json.Unmarshal(body, e); err != nil {
		return o, false, fmt.Errorf("it is not in the envelope: %w", err)
	}
	if err := check(e, doc); err != nil {
		return o, false, err
	}
	if e.ID == "" {
		h := sha256.Sum256(body) // the keys of a map are sorted
		e.ID = "obs-" + hex.EncodeToString(h[:16])
		doc["id"] = e.ID
	}
	if tags, ok := doc["tags"].(map[string]any); ok && len(e.Tags) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Tags)) {
			e.Tags[name] = n.tag(name, e.Tags[name])
			tags[name] = e.Tags[name]
		}
	}
	e.TS = e.TS.UTC()
	o.Body, err = json.Marshal(doc)
	return o, err == nil, err
}

// Limits of an envelope's fields, in bytes.
const (
	maxEntity = 256
	maxType   = 128
	maxTags   = 64
	maxTag    = 256
)

func check(e *entropy.Event, doc map[string]any) error {
	if e.ID != "" {
		if err := entropy.ValidateID("id", e.ID); err != nil {
			return err
		}
	}
	kind, id := entropy.SplitEntity(e.EntityID)
	switch {
	case kind == "" || id == "" || len(e.EntityID) > maxEntity:
		return fmt.Errorf("entity_id is %.80q; it is KIND:ID, at most %d bytes", e.EntityID, maxEntity)
	case e.Type == "" || len(e.Type) > maxType:
		return fmt.Errorf("event_type is %.80q; it has 1 to %d bytes", e.Type, maxType)
	case doc["ts"] == nil:
		return errors.New("ts is missing")
	case e.TS.Year() < 1970 || e.TS.Year() > 9999:
		return fmt.Errorf("ts is in the year %d", e.TS.Year())
	case len(e.Tags) > maxTags:
		return fmt.Errorf("it has %d tags, at most %d are allowed", len(e.Tags), maxTags)
	case strings.EqualFold(e.Source.System, "entropy"):
		return errors.New("source.system is entropy: the fabric's own events are not taken in again")
	case len(e.Attrs) > 0 && e.Attrs[0] != '{' && string(e.Attrs) != "null":
		return errors.New("attrs is not an object")
	}
	for k, v := range e.Tags {
		if k == "" || len(k) > maxTag || len(v) > maxTag {
			return fmt.Errorf("the tag %.40q has a name or value of no or more than %d bytes", k, maxTag)
		}
	}
	return nil
}
