package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

func recordOf(id string) *record {
	return &record{Order: entropy.ActionOrder{ActionID: "a", AttemptID: entropy.AttemptID(id), Command: "c", Args: json.RawMessage(`{"x":"\n"}`)}}
}

func resultOf(id string) *record {
	r := recordOf(id)
	r.Result = &entropy.Event{ID: "r-" + id, Type: entropy.ActionSucceededType, Attrs: json.RawMessage(`{"action_id":"a"}`)}
	return r
}

func mustOpen(t *testing.T, dir string) *spool {
	t.Helper()
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// openUnsynced opens a spool that does not wait for the disk: for tests that open
// thousands, and read what was written.
func openUnsynced(t *testing.T, dir string) *spool {
	t.Helper()
	s, err := openSpoolWith(dir, 100, func(*os.File) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPut(t *testing.T, s *spool, rs ...*record) {
	t.Helper()
	for _, r := range rs {
		if err := s.put(r); err != nil {
			t.Fatal(err)
		}
	}
}

// known says in a line what a spool has: the attempts, and which have ended.
func known(s *spool) map[string]string {
	all := map[string]string{}
	for _, r := range s.all() {
		id := string(r.Order.AttemptID)
		if all[id] = "begun"; r.Result != nil {
			all[id] = r.Result.ID
		}
	}
	return all
}

func check(t *testing.T, s *spool, want map[string]string) {
	t.Helper()
	if got := known(s); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the spool has %v, want %v", got, want)
	}
}

// proves A-3: what was put into the spool is there for the next process, whatever
// the attempt's ID holds; what was forgotten is not; a second process is refused.
func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := mustOpen(t, dir)
	want := map[string]string{}
	for _, id := range []string{"plain-1", "../../escape", "a/b", ".hidden", "lock", "line\nbreak", "\x00"} {
		mustPut(t, s, recordOf(id))
		want[id] = "begun"
	}
	mustPut(t, s, resultOf("a/b"), resultOf("straight"))
	want["a/b"], want["straight"] = "r-a/b", "r-straight"
	if _, err := openSpool(dir); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("a second process: %v", err)
	}
	for range 2 {
		check(t, s, want)
		s.close()
		s = mustOpen(t, dir)
	}
	for _, r := range s.all() {
		if string(r.Order.Args) != `{"x":"\n"}` || r.Order.ActionID != "a" {
			t.Errorf("the order of %q is %+v", r.Order.AttemptID, r.Order)
		}
		if err := s.forget(r.Order.AttemptID); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	if err := s.put(recordOf("late")); err == nil {
		t.Error("a closed spool takes records")
	}
	check(t, mustOpen(t, dir), map[string]string{})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 { // the lock and the file
		t.Errorf("the directory has %v, %v", left, err)
	}
}

// proves A-3, P-1: the power is cut at any byte of the file, and what lies behind is
// missing, zeros or rubbish: what was put before is there, and new records go on.
func TestSpoolTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	type mark struct {
		size  int64
		state map[string]string
	}
	marks := []mark{{s.size, known(s)}}
	for _, step := range []func() error{
		func() error { return s.put(recordOf("one")) }, func() error { return s.put(recordOf("two")) }, func() error { return s.put(resultOf("one")) },
		func() error { return s.forget("one") }, func() error { return s.put(resultOf("three")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		marks = append(marks, mark{s.size, known(s)})
	}
	whole, err := os.ReadFile(s.path(spoolFile))
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	end := int(s.size)
	tails := []struct {
		what string
		text []byte
	}{{"nothing", nil}, {"zeros", make([]byte, 50)}, {"rubbish", []byte("\xff\xfe no line\nof a spool\n")}}
	torn := t.TempDir()
	for cut := 0; cut <= end; cut++ {
		atBreak := slices.ContainsFunc(marks, func(m mark) bool { return cut >= int(m.size)-2 && cut <= int(m.size)+2 })
		for i, tail := range tails {
			if i != cut%len(tails) && !atBreak { // all of them where a line ends, else in turn
				continue
			}
			what := tail.what
			if err := os.WriteFile(filepath.Join(torn, spoolFile), append(bytes.Clone(whole[:cut]), tail.text...), 0o600); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, m := range marks {
				if cut >= int(m.size) || cut == int(m.size)-1 && what != "rubbish" { // only its line break is missing
					want = m.state
				}
			}
			s := openUnsynced(t, torn)
			if got := known(s); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("cut at %d of %d, then %s: it has %v, want %v", cut, end, what, got, want)
			}
			mustPut(t, s, recordOf("after"))
			s.close()
			again := openUnsynced(t, torn)
			if got := known(again); got["after"] != "begun" || len(got) != len(want)+1 {
				t.Fatalf("cut at %d, then %s: after that it has %v", cut, what, got)
			}
			again.close()
		}
	}
}

// proves A-3: a damaged line costs that line alone, and is kept for a person to look
// at; whatever is damaged, no record appears that nobody put.
func TestSpoolDamagedAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustPut(t, s, recordOf("one"), recordOf("two"), resultOf("two"), recordOf("three"))
	whole, err := os.ReadFile(s.path(spoolFile))
	if err != nil {
		t.Fatal(err)
	}
	want := known(s)
	s.close()
	size, torn := int(s.size), t.TempDir()
	for at := range size {
		b := bytes.Clone(whole)
		_ = os.Remove(filepath.Join(torn, damagedFile)) // of the last turn
		b[at] ^= 0x10
		if err := os.WriteFile(filepath.Join(torn, spoolFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openUnsynced(t, torn)
		got := known(s)
		lines := 0
		for id, state := range want {
			switch {
			case got[id] == "", got[id] == "begun" && state != "begun":
				lines++
			case got[id] != state:
				t.Fatalf("byte %d: %s is %s", at, id, got[id])
			}
		}
		kept, err := os.ReadFile(filepath.Join(torn, damagedFile))
		// Without its last line break the file looks as a crash leaves it.
		if lines > 2 || len(got) > len(want) || lines > 0 && len(kept) == 0 && at != size-1 {
			t.Fatalf("byte %d of %d: it has %v, %d bytes are set aside, %v", at, size, got, len(kept), err)
		}
		s.close()
	}
}

// proves A-3: the files of a version that kept one for each attempt are taken over.
func TestOldSpool(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for name, r := range map[string]*record{"one.json": recordOf("one"), "x-5f.json": resultOf("a/b")} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want["one"], want["a/b"] = "begun", "r-a/b"
	for name, text := range map[string]string{"half.json.new": `{"order":`, "bad.json": "not JSON"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, dir)
	check(t, s, want)
	s.close()
	if left, _ := filepath.Glob(filepath.Join(dir, "*.json*")); len(left) != 1 || filepath.Base(left[0]) != "bad.json.damaged" {
		t.Errorf("there are %v", left)
	}
	check(t, mustOpen(t, dir), want)
}

// A spool of a newer version is left alone.
func TestSpoolOfTheFuture(t *testing.T) {
	dir := t.TempDir()
	b, err := (&line{Format: spoolFormat + 1}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, spoolFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSpool(dir); entropy.ErrorCode(errors.Unwrap(err)) != entropy.CodeConflict || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, spoolFile)); !bytes.Equal(after, b) {
		t.Error("it was changed")
	}
}

// proves A-3: many at once share a flush, and each is durable when its call returns.
func TestSpoolFlushesTogether(t *testing.T) {
	const callers, each = 32, 20
	dir := t.TempDir()
	s := mustOpen(t, dir)
	var flushes atomic.Int64
	begun := make(chan struct{})
	s.sync = func(f *os.File) error {
		if flushes.Add(1) == 1 {
			<-begun // until the others wait
		}
		return fdatasync(f)
	}
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() {
			for k := range each {
				id := fmt.Sprintf("%d-%d", i, k)
				if err := errors.Join(s.put(recordOf(id)), s.put(resultOf(id))); err != nil {
					t.Error(err)
				}
				b, err := os.ReadFile(s.path(spoolFile))
				if err != nil || !bytes.Contains(b, []byte(`"r-`+id+`"`)) {
					t.Errorf("%s is not in the file, %v", id, err)
				}
				if k%2 == 0 {
					if err := s.forget(entropy.AttemptID(id)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for all := 0; all < callers-1; { // the first is in its flush
		s.mu.Lock()
		all = len(s.next.apply)
		s.mu.Unlock()
	}
	close(begun)
	done.Wait()
	if n := flushes.Load(); n > callers*each {
		t.Errorf("%d flushes for %d puts", n, 2*callers*each)
	}
	want := known(s)
	if len(want) != callers*each/2 {
		t.Errorf("%d records", len(want))
	}
	s.close()
	check(t, mustOpen(t, dir), want)
}

// proves A-3: a flush that fails is said so, nothing of it is known, and the records
// before it outlive it; when the disk is well again the spool goes on.
func TestSpoolDiskFails(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustPut(t, s, recordOf("one"))
	want := map[string]string{"one": "begun"}
	for _, fault := range []error{unix.ENOSPC, unix.EIO} {
		s.sync = func(*os.File) error { return fault }
		err := s.put(resultOf("one"))
		if !errors.Is(err, fault) && entropy.ErrorCode(errors.Unwrap(err)) != entropy.CodeDiskFull {
			t.Errorf("%v: %v", fault, err)
		}
		check(t, s, want)
		s.sync = fdatasync
		mustPut(t, s, recordOf(fault.Error()))
		want[fault.Error()] = "begun"
	}
	mustPut(t, s, resultOf("one"))
	s.close()
	want["one"] = "r-one"
	check(t, mustOpen(t, dir), want)
}

// proves bounded storage: the file does not grow with what was forgotten, and what
// is kept survives each time that it is written anew.
func TestSpoolCompacts(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	s.compactAt, s.sync = 16<<10, func(*os.File) error { return nil }
	mustPut(t, s, recordOf("long"))
	for i := range 2000 {
		id := fmt.Sprint(i)
		mustPut(t, s, recordOf(id), resultOf(id))
		if err := s.forget(entropy.AttemptID(id)); err != nil {
			t.Fatal(err)
		}
		if s.size > 2*s.compactAt {
			t.Fatalf("the file has %d bytes", s.size)
		}
	}
	if fi, err := os.Stat(s.path(spoolFile)); err != nil || fi.Size() > 2*s.compactAt+2*roomAhead {
		t.Errorf("the file takes %v, %v", fi, err)
	}
	s.mu.Lock()
	var sum int64
	for _, k := range s.records {
		sum += k.bytes
	}
	if s.live != sum || sum == 0 {
		t.Errorf("%d bytes are live, counted %d", sum, s.live)
	}
	s.mu.Unlock()
	s.close()
	check(t, mustOpen(t, dir), map[string]string{"long": "begun"})
}
