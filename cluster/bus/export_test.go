package bus

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// attrsOf are the types of the attrs of each kind of entity, whole.
var attrsOf = map[string][]any{
	entropy.KindJob:        {entropy.JobAttrs{}},
	entropy.KindArray:      {entropy.Array{}},
	entropy.KindWorker:     {entropy.WorkerAttrs{}},
	entropy.KindToken:      {entropy.Token{}, entropy.TokenUse{}},
	entropy.KindEnrollment: {entropy.Enrollment{}},
	entropy.KindSchedule: {struct { // what schedule events carry
		Spec *entropy.ScheduleSpec `json:"spec"`
	}{}},
	entropy.KindPolicy: {struct {
		Policy *entropy.Policy `json:"policy"`
	}{}},
	entropy.KindAction: {entropy.ActionSpec{}, entropy.ActionReport{}},
}

// suspicious are the names of fields that sound like a secret, or like something
// made of one.
var suspicious = regexp.MustCompile(`(^|_)(hash|secret|key|nonce|env|password|pass|credential|private|pem|seed)(_|$)`)

// harmless sound like a secret and are none.
var harmless = map[string]string{
	"job.spec.concurrency_key":          "a name that a user gave",
	"array.spec.concurrency_key":        "as for a job",
	"schedule.spec.job.concurrency_key": "as for a job",
}

// canary is what no published event may hold.
const canary = "CANARY-7f3a"

// fill sets everything that can be set below v, with the canary in whatever has a
// suspicious name or lies below it.
func fill(v reflect.Value, secret bool, depth int) {
	if depth > 8 {
		return
	}
	word := "plain"
	if secret {
		word = canary
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), secret, depth+1)
	case reflect.String:
		v.SetString(word)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(strconv.Quote(word)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), secret, depth+1)
	case reflect.Map:
		k, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k, false, depth+1)
		fill(x, secret, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(k, x)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if v.Field(i).CanSet() && name != "-" {
				fill(v.Field(i), secret || suspicious.MatchString(name) && name != "concurrency_key", depth+1)
			}
		}
	}
}

// fieldsBelow calls f with the path of every field.
func fieldsBelow(t reflect.Type, path string, depth int, f func(path, name string)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > 8 {
		return
	}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			f(path+"."+name, name)
			fieldsBelow(field.Type, path+"."+name, depth+1, f)
		}
	}
}

// proves S-2, A-1: no published event holds a secret, or a hash of one. The fields
// are found by their names, so that one that is added later is found too.
func TestNoSecretIsPublished(t *testing.T) {
	for kind, types := range attrsOf {
		for _, typ := range types {
			v := reflect.New(reflect.TypeOf(typ)).Elem()
			fill(v, false, 0)
			attrs, err := json.Marshal(v.Addr().Interface())
			must(t, err)
			e := entropy.Event{EntityID: entropy.Entity(kind, "x"), Attrs: attrs}
			out := string(exported(&e))
			if strings.Contains(out, canary) {
				t.Errorf("%s %T is published as %s", kind, typ, out)
			}
			if !strings.Contains(out, "plain") && !strings.Contains(out, "joined_at") {
				t.Errorf("nothing is left of %s %T: %s", kind, typ, out)
			}
			fieldsBelow(reflect.TypeOf(typ), kind, 0, func(path, name string) {
				if suspicious.MatchString(name) && name == "concurrency_key" && harmless[path] == "" {
					t.Errorf("%s sounds like a secret: give it a rule, or a reason here", path)
				}
			})
		}
	}
}

// proves S-2: what is kept of what people look for is still there.
func TestExportedKeepsTheRest(t *testing.T) {
	for in, want := range map[string]struct{ entity, out string }{
		`{"spec":{"name":"n","env":{"TOKEN":"x","B":"y"}},"spec_hash":"h","state":"pending"}`: {"job:1", `{"spec":{"env":{"B":"(hidden)","TOKEN":"(hidden)"},"name":"n"},"state":"pending"}`},
		`{"attempt": 1}`: {"job:1", `{"attempt": 1}`},
		`{"id":"t","role":"admin","hash":"h","key_hash":"k","later":"added"}`: {"token:t", `{"id":"t","role":"admin"}`},
		`{"a":1}`:                              {"novelty:1", `{"bytes":7,"withheld":"there is no rule for events of this kind"}`},
		`{"spec":null}`:                        {"job:1", `{"spec":null}`},
		`{"spec":{"\u0065nv":{"A":"secret"}}}`: {"job:1", `{"spec":{"env":{"A":"(hidden)"}}}`},
	} {
		if got := string(exported(&entropy.Event{EntityID: want.entity, Attrs: json.RawMessage(in)})); got != want.out {
			t.Errorf("%s becomes %s, want %s", in, got, want.out)
		}
	}
}

// proves S-2: every kind of entity that the fabric has was thought of.
func TestEveryKindHasARule(t *testing.T) {
	constant := regexp.MustCompile(`(?m)^(?:const)?\s*(Kind\w+)\s*=\s*"([a-z_]+)"`)
	use := regexp.MustCompile(`\bEntity\((?:entropy\.)?(Kind\w+),`)
	kinds, used := map[string]string{}, map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
			kinds[m[1]] = m[2]
		}
		for _, m := range use.FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
		}
		return err
	})
	must(t, err)
	for name := range used {
		if _, ok := exports[kinds[name]]; !ok {
			t.Errorf("%s = %q has no rule in exports", name, kinds[name])
		}
	}
	if len(used) < 7 {
		t.Errorf("only %d kinds were found", len(used))
	}
	for kind := range attrsOf {
		if _, ok := exports[kind]; !ok {
			t.Errorf("%s has attrs and no rule", kind)
		}
	}
}
