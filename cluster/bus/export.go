package bus

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// What is published leaves the process: it is read with other credentials, kept by
// other programs. So the attrs of every kind of entity have a rule, and those of a
// kind without one stay here.

// exportRule says which attrs of an event are published. Paths have dots.
type exportRule struct {
	// keep names the only attrs that are published, at the top level; nil: all.
	keep []string
	// drop removes what lies at these paths: hashes of secrets, and what proves who
	// somebody is.
	drop []string
	// mask keeps the keys of the objects at these paths, and hides the values.
	mask []string
}

const masked = `"(hidden)"`

// exports are the rules by kind. The environment of a job may hold secrets, and the
// hash of a spec would tell a guess of them from a miss.
var exports = map[string]exportRule{
	entropy.KindJob:        {drop: []string{"spec_hash"}, mask: []string{"spec.env"}},
	entropy.KindArray:      {drop: []string{"spec_hash"}, mask: []string{"spec.env"}},
	entropy.KindSchedule:   {mask: []string{"spec.job.env"}},
	entropy.KindWorker:     {drop: []string{"registration.key_hash", "registration.nonce"}},
	entropy.KindToken:      {keep: []string{"id", "role", "note", "created_at", "created_by", "expires_at", "max_uses", "worker", "reason", "principal", "name", "commands", "old_until"}},
	entropy.KindEnrollment: {keep: []string{"id", "version", "token", "hostname", "joined_at"}},
	entropy.KindPolicy:     {},
	entropy.KindAction:     {},
	entropy.KindDeadLetter: {},
	entropy.KindKeyring:    {keep: []string{"keyring", "principal", "behind"}},
}

// exported returns the attrs of an event as they may leave the process.
func exported(e *entropy.Event) json.RawMessage {
	if len(e.Attrs) == 0 {
		return nil
	}
	kind, _ := entropy.SplitEntity(e.EntityID)
	rule, ok := exports[kind]
	if !ok {
		return withheld("there is no rule for events of this kind", len(e.Attrs))
	}
	attrs := e.Attrs
	if rule.keep != nil {
		attrs = keepOnly(attrs, rule.keep)
	}
	for _, p := range rule.drop {
		attrs = edit(attrs, p, func(json.RawMessage) json.RawMessage { return nil })
	}
	for _, p := range rule.mask {
		attrs = edit(attrs, p, hideValues)
	}
	return attrs
}

// withheld stands for attrs that are not published.
func withheld(why string, size int) json.RawMessage {
	b, _ := json.Marshal(map[string]any{"withheld": why, "bytes": size}) // a string and a number encode
	return b
}

func keepOnly(attrs json.RawMessage, names []string) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(attrs, &fields) != nil {
		return withheld("it is not an object", len(attrs))
	}
	kept := make(map[string]json.RawMessage, len(names))
	for _, n := range names {
		if v, ok := fields[n]; ok {
			kept[n] = v
		}
	}
	return encode(kept)
}

// edit replaces what lies at a path; nil removes it. An object that does not have
// it is left as it is, byte for byte.
func edit(attrs json.RawMessage, path string, f func(json.RawMessage) json.RawMessage) json.RawMessage {
	name, rest, deeper := strings.Cut(path, ".")
	leaf := path[strings.LastIndexByte(path, '.')+1:]
	if !bytes.Contains(attrs, []byte(`"`+leaf+`"`)) && !bytes.Contains(attrs, []byte(`\u`)) {
		return attrs
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(attrs, &fields) != nil {
		return withheld("it is not an object", len(attrs))
	}
	old, ok := fields[name]
	if !ok || string(old) == "null" {
		return attrs
	}
	if deeper {
		fields[name] = edit(old, rest, f)
	} else if v := f(old); v != nil {
		fields[name] = v
	} else {
		delete(fields, name)
	}
	return encode(fields)
}

func hideValues(object json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return nil
	}
	for k := range fields {
		fields[k] = json.RawMessage(masked)
	}
	return encode(fields)
}

func encode(fields map[string]json.RawMessage) json.RawMessage {
	b, err := json.Marshal(fields)
	if err != nil {
		return withheld("it cannot be encoded", 0)
	}
	return b
}
