package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The mapping to CloudEvents 1.0. What the fabric publishes is its envelope, with the
// attributes of a CloudEvent in headers beside it, so that a consumer of either needs
// to know nothing of the other. What comes in may be an envelope, a CloudEvent in
// binary mode (attributes in headers, data in the message) or in structured mode.

const (
	cloudPrefix     = "ce-"
	cloudTypePrefix = "io.entropy."
	cloudStructured = "application/cloudevents+json"
	contentType     = "content-type"
	// envelopeSchema is the dataschema of a message whose data is the whole envelope.
	envelopeSchema = "urn:entropy:envelope:1"
	maxCloudAttrs  = 64
)

// attribute is one of a CloudEvent.
type attribute struct{ name, value string }

// CloudAttributes returns the attributes of the CloudEvent that an event is, under
// their names. The event's attrs are its data.
func CloudAttributes(e *entropy.Event) map[string]string {
	a := map[string]string{"datacontenttype": "application/json"}
	for _, x := range cloudAttributes(e) {
		if x.value != "" {
			a[x.name] = x.value
		}
	}
	return a
}

// cloudAttributes lists the attributes; those without a value are not there.
func cloudAttributes(e *entropy.Event) [14]attribute {
	source := "/" + url.PathEscape(e.Source.System)
	if len(e.Source.NS) > 0 {
		ns := make(url.Values, len(e.Source.NS))
		for k, v := range e.Source.NS {
			ns.Set(k, v)
		}
		source += "?" + ns.Encode()
	}
	at, tags := "", ""
	if !e.TS.IsZero() {
		at = e.TS.UTC().Format(time.RFC3339Nano)
	}
	if len(e.Tags) > 0 {
		b, _ := json.Marshal(e.Tags) // a map of strings encodes
		tags = string(b)
	}
	return [...]attribute{
		{"specversion", "1.0"}, {"id", e.ID}, {"source", source}, {"type", cloudTypePrefix + e.Type}, {"subject", e.EntityID}, {"time", at},
		{"schemaversion", strconv.Itoa(e.Schema)}, {"correlationid", e.CorrelationID}, {"causationid", e.CausationID}, {"idempotencykey", e.IdempotencyKey},
		{"entityversion", positive(e.Version)}, {"sequence", positive(e.Seq)}, {"tags", tags}, {"dataschema", ""},
	}
}

func positive(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// cloudHeaders returns the headers of a message whose data is e's envelope.
func cloudHeaders(e *entropy.Event) map[string][]string {
	attributes := cloudAttributes(e)
	attributes[len(attributes)-1].value = envelopeSchema
	h := make(map[string][]string, len(attributes)+4)
	values := make([]string, len(attributes)+1) // one piece of memory for all
	for i, x := range attributes {
		if x.value != "" {
			values[i] = escapeHeader(x.value)
			h[headerName(x.name)] = values[i : i+1 : i+1]
		}
	}
	values[len(attributes)] = "application/json"
	h[contentType] = values[len(attributes):]
	return h
}

// headerName returns the header of an attribute.
func headerName(attribute string) string {
	if name, ok := headerNames[attribute]; ok {
		return name
	}
	return cloudPrefix + attribute
}

var headerNames = func() map[string]string {
	names := make(map[string]string)
	for _, x := range cloudAttributes(new(entropy.Event)) {
		names[x.name] = cloudPrefix + x.name
	}
	return names
}()

// ParseEvent reads a message as an event: an envelope, or a CloudEvent in either mode.
// It does not judge what the event says. The error is CodeInvalid.
func ParseEvent(header map[string][]string, data []byte) (e entropy.Event, err error) {
	first := func(name string) string {
		for k, v := range header {
			if strings.EqualFold(k, name) && len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	switch {
	case strings.HasPrefix(strings.ToLower(first(contentType)), cloudStructured):
		e, err = parseStructured(data)
	case first(cloudPrefix+"specversion") != "" && first(cloudPrefix+"dataschema") != envelopeSchema:
		attributes := make(map[string]string)
		for k, v := range header {
			if name, ok := strings.CutPrefix(strings.ToLower(k), cloudPrefix); ok && len(v) > 0 && len(attributes) < maxCloudAttrs {
				attributes[name] = unescapeHeader(v[0])
			}
		}
		e, err = fromAttributes(attributes, data)
	default:
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		return entropy.Event{}, entropy.Errorf(entropy.CodeInvalid, "the message is no event: %v", err)
	}
	return e, nil
}

// parseStructured reads a CloudEvent that is one JSON object.
func parseStructured(data []byte) (e entropy.Event, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return e, err
	}
	attributes := make(map[string]string)
	for k, raw := range fields {
		var s string
		switch {
		case k == "data" || len(attributes) == maxCloudAttrs:
		case json.Unmarshal(raw, &s) == nil:
			attributes[k] = s
		default: // a number or a boolean
			attributes[k] = string(raw)
		}
	}
	return fromAttributes(attributes, fields["data"])
}

func fromAttributes(a map[string]string, data []byte) (e entropy.Event, err error) {
	if v := a["specversion"]; v != "1.0" {
		return e, fmt.Errorf("its CloudEvents version is %q, not 1.0", v)
	}
	if a["source"] == "" {
		return e, errors.New("it has no source")
	}
	e = entropy.Event{
		ID: a["id"], Type: strings.TrimPrefix(a["type"], cloudTypePrefix), EntityID: a["subject"],
		CorrelationID: a["correlationid"], CausationID: a["causationid"], IdempotencyKey: a["idempotencykey"],
	}
	e.Source = parseSource(a["source"])
	if t := a["time"]; t != "" {
		if e.TS, err = time.Parse(time.RFC3339Nano, t); err != nil {
			return e, fmt.Errorf("its time: %w", err)
		}
	}
	if t := a["tags"]; t != "" {
		if err := json.Unmarshal([]byte(t), &e.Tags); err != nil {
			return e, fmt.Errorf("its tags: %w", err)
		}
	}
	for name, to := range map[string]*uint64{"entityversion": &e.Version, "sequence": &e.Seq} {
		*to, _ = strconv.ParseUint(a[name], 10, 64) // another's sequence need not be a number
	}
	e.Schema, _ = strconv.Atoi(a["schemaversion"])
	if data = bytes.TrimSpace(data); len(data) > 0 {
		if !json.Valid(data) {
			return e, errors.New("its data is not JSON")
		}
		e.Attrs = data
	}
	return e, nil
}

// parseSource reads a source as CloudAttributes writes it; any other URI is a system's
// name as it is.
func parseSource(uri string) entropy.Source {
	path, query, _ := strings.Cut(uri, "?")
	own, ok := strings.CutPrefix(path, "/")
	system, err1 := url.PathUnescape(own)
	values, err2 := url.ParseQuery(query)
	if !ok || strings.Contains(own, "/") || err1 != nil || err2 != nil {
		return entropy.Source{System: uri}
	}
	s := entropy.Source{System: system}
	for k, v := range values {
		if s.NS == nil {
			s.NS = make(map[string]string)
		}
		s.NS[k] = v[0]
	}
	return s
}

// escapeHeader writes a value as the HTTP binding does: what is not printable ASCII,
// and '"' and '%', in percent-encoded UTF-8.
func escapeHeader(s string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }
	n := 0
	for n < len(s) && plain(s[n]) {
		n++
	}
	if n == len(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := append(make([]byte, 0, len(s)+16), s[:n]...)
	for ; n < len(s); n++ {
		if c := s[n]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// unescapeHeader reads what escapeHeader wrote, and leaves alone what it did not.
func unescapeHeader(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
