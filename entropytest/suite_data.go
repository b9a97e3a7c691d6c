package entropytest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// proves P-2, O-1: a gapless, ordered feed that can be continued anywhere
func testEvents(s *suite) {
	w := s.node("w1")
	for range 3 {
		s.submit(command("true"))
		w.accept(w.exit(w.start(), 0))
	}
	all := s.events("")
	if len(all) < 13 { // one registration, four events a job
		s.Fatalf("%d events", len(all))
	}
	for i, e := range all {
		if e.Seq != uint64(i+1) {
			s.Fatalf("event %d has seq %d", i, e.Seq)
		}
	}
	var again []entropy.Event
	f := entropy.EventFilter{Limit: 2}
	for {
		page, err := s.Service.Events(s.ctx, f)
		s.must(err)
		if len(page.Events) > 2 {
			s.Fatalf("%d events on a page of 2", len(page.Events))
		}
		if len(page.Events) == 0 {
			break
		}
		again, f.After = append(again, page.Events...), page.Next
	}
	if !slices.EqualFunc(all, again, func(a, b entropy.Event) bool { return a.ID == b.ID && bytes.Equal(a.Attrs, b.Attrs) }) {
		s.Fatalf("in pages of 2: %d events, at once: %d", len(again), len(all))
	}
}

func testEventsFilter(s *suite) {
	w := s.node("w1")
	a, b := s.submit(command("true")), s.submit(command("true"))
	w.accept(w.exit(w.start(), 0))
	count := func(f entropy.EventFilter) (n int) {
		s.Helper()
		page, err := s.Service.Events(s.ctx, f)
		s.must(err)
		for _, e := range page.Events {
			if f.Entity != "" && e.EntityID != f.Entity {
				s.Fatalf("%+v let %+v pass", f, e)
			}
		}
		return len(page.Events)
	}
	for _, c := range []struct {
		f    entropy.EventFilter
		want int
	}{
		{entropy.EventFilter{Entity: entropy.Entity(entropy.KindJob, string(a))}, 4},
		{entropy.EventFilter{Entity: entropy.Entity(entropy.KindJob, string(b))}, 1},
		{entropy.EventFilter{Type: entropy.JobSubmitted}, 2},
		{entropy.EventFilter{Type: "job."}, 5},
		{entropy.EventFilter{Type: "worker."}, 1},
		{entropy.EventFilter{Type: "job"}, 0},
	} {
		if got := count(c.f); got != c.want {
			s.Errorf("%+v: %d events, want %d", c.f, got, c.want)
		}
	}
}

// proves H-4, H-8: a position is of one history, and waiting goes on from the end
func testEventsPosition(s *suite) {
	s.submit(command("true"))
	page, err := s.Service.Events(s.ctx, entropy.EventFilter{Latest: true})
	s.must(err)
	if len(page.Events) != 0 || page.Next.Seq == 0 || page.Next.Epoch == 0 {
		s.Fatalf("latest: %+v", page)
	}
	got := make(chan entropy.EventPage, 1)
	go func() {
		next, err := s.Service.Events(s.ctx, entropy.EventFilter{After: page.Next, Wait: patience})
		if err != nil {
			s.Errorf("events: %v", err)
		}
		got <- next
	}()
	id := s.submit(command("true"))
	if next := <-got; len(next.Events) == 0 || next.Events[0].EntityID != entropy.Entity(entropy.KindJob, string(id)) || next.Events[0].Seq != page.Next.Seq+1 {
		s.Fatalf("after the end: %+v", next)
	}
	_, err = s.Service.Events(s.ctx, entropy.EventFilter{After: entropy.Position{Epoch: page.Next.Epoch + 7, Seq: 1}})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.Events(s.ctx, entropy.EventFilter{After: entropy.Position{Epoch: page.Next.Epoch, Seq: page.Next.Seq + 1000}})
	s.wantCode(err, entropy.CodeConflict)
}

// proves W-7: output is stored by offset; repeats, overlaps and gaps do no harm
func testLogs(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.start()
	put := func(offset int64, text string, want int64) {
		s.Helper()
		got, err := w.AppendLog(s.ctx, entropy.LogUpload{JobID: id, AssignmentID: a.AssignmentID, Stream: "stdout", Offset: offset}, []byte(text))
		s.must(err)
		if got != want {
			s.Fatalf("append %q at %d: stored %d, want %d", text, offset, got, want)
		}
	}
	put(0, "hello ", 6)
	put(0, "hello ", 6)
	put(3, "lo world", 11)
	put(99, "gap", 11)
	put(11, "\x00\xff\n", 14)
	get := func(q entropy.LogQuery) entropy.LogChunk {
		s.Helper()
		q.JobID = id
		if q.Stream == "" {
			q.Stream = "stdout"
		}
		c, err := s.Service.Log(s.ctx, q)
		s.must(err)
		return c
	}
	if c := get(entropy.LogQuery{}); string(c.Data) != "hello world\x00\xff\n" || c.Next != 14 || c.EOF || c.Attempt != 1 {
		s.Fatalf("whole: %+v", c)
	}
	if c := get(entropy.LogQuery{Offset: 6, Limit: 5}); string(c.Data) != "world" || c.Next != 11 || c.EOF {
		s.Fatalf("piece: %+v", c)
	}
	if c := get(entropy.LogQuery{Offset: -3}); string(c.Data) != "\x00\xff\n" || c.Next != 14 {
		s.Fatalf("tail: %+v", c)
	}
	if c := get(entropy.LogQuery{Stream: "stderr"}); len(c.Data) != 0 || c.EOF {
		s.Fatalf("stderr: %+v", c)
	}
	w.accept(w.exit(a, 0))
	if c := get(entropy.LogQuery{Offset: 6, Attempt: 1}); string(c.Data) != "world\x00\xff\n" || !c.EOF {
		s.Fatalf("after the end: %+v", c)
	}
	_, err := w.AppendLog(s.ctx, entropy.LogUpload{JobID: id, AssignmentID: a.AssignmentID, Stream: "stdout", Offset: 14}, []byte("late"))
	s.wantCode(err, entropy.CodeSuperseded)
}

func testLogsFollow(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	got := make(chan string, 1)
	go func() {
		r := entropy.Attach(s.Service, id).Logs(s.ctx) // begins before the first attempt
		defer r.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			s.Errorf("follow: %v", err)
		}
		got <- b.String()
	}()
	a := w.start()
	var want strings.Builder
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		_, err := w.AppendLog(s.ctx, entropy.LogUpload{JobID: id, AssignmentID: a.AssignmentID, Stream: "stdout", Offset: int64(want.Len())}, []byte(line))
		s.must(err)
		want.WriteString(line)
	}
	w.accept(w.exit(a, 0))
	if text := <-got; text != want.String() {
		s.Fatalf("followed %q, want %q", text, want.String())
	}
}

// proves W-7: staged in pieces, checked by hash, published with success
func testArtifacts(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.start()
	content := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	u := entropy.ArtifactUpload{JobID: id, AssignmentID: a.AssignmentID, SHA256: hash(content), Size: int64(len(content))}
	put := func(offset, end, want int64) {
		s.Helper()
		u.Offset = offset
		got, err := w.StageArtifact(s.ctx, u, bytes.NewReader(content[offset:end]))
		s.must(err)
		if got != want {
			s.Fatalf("stage %d…%d: %d staged, want %d", offset, end, got, want)
		}
	}
	put(0, 1000, 1000)
	put(0, 1000, 1000)
	put(5000, 9000, 1000) // a gap stores nothing
	put(500, 50_000, 50_000)
	put(50_000, u.Size, u.Size)
	put(0, u.Size, u.Size)

	bad := entropy.ArtifactUpload{JobID: id, AssignmentID: a.AssignmentID, SHA256: hash([]byte("right")), Size: 5}
	_, err := w.StageArtifact(s.ctx, bad, strings.NewReader("wrong"))
	s.wantCode(err, entropy.CodeInvalid)
	staged, err := w.StageArtifact(s.ctx, bad, strings.NewReader("right"))
	s.must(err)
	if staged != 5 {
		s.Fatalf("after the wrong content: %d staged", staged)
	}

	_, _, err = s.Service.OpenArtifact(s.ctx, id, "out/data.bin")
	s.wantCode(err, entropy.CodeNotFound) // not before the job has succeeded
	c := w.exit(a, 0)
	c.Artifacts = []entropy.Artifact{{Name: "out/data.bin", SHA256: u.SHA256, Size: u.Size}, {Name: "ü #1?%2F.txt", SHA256: bad.SHA256, Size: 5}, w.stage(a, "empty", nil)}
	w.accept(c)
	if j := s.ended(id, entropy.Succeeded); !slices.Equal(j.Artifacts, c.Artifacts) {
		s.Fatalf("artifacts: %+v", j.Artifacts)
	}
	for i, want := range [][]byte{content, []byte("right"), nil} {
		r, art, err := s.Service.OpenArtifact(s.ctx, id, c.Artifacts[i].Name)
		s.must(err)
		if got := s.read(r); !bytes.Equal(got, want) || art != c.Artifacts[i] {
			s.Fatalf("artifact %+v: %d bytes, want %d", art, len(got), len(want))
		}
	}
	_, _, err = s.Service.OpenArtifact(s.ctx, id, "other")
	s.wantCode(err, entropy.CodeNotFound)
	_, err = w.StageArtifact(s.ctx, bad, strings.NewReader("right"))
	s.wantCode(err, entropy.CodeSuperseded)
}

// proves W-7: a completion whose artifacts are not there asks for them
func testArtifactMissing(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.start()
	c := w.exit(a, 0)
	c.Artifacts = []entropy.Artifact{{Name: "f", SHA256: hash([]byte("content")), Size: 7}}
	if r := w.complete(c); r.Verdict != entropy.VerdictReupload || !slices.Equal(r.Missing, []string{c.Artifacts[0].SHA256}) {
		s.Fatalf("complete without the artifact: %+v", r)
	}
	s.wantState(id, entropy.Running)
	w.stage(a, "f", []byte("content"))
	w.accept(c)
	s.ended(id, entropy.Succeeded)
}

// proves J-15
func testBlobs(s *suite) {
	one, two := []byte("one"), bytes.Repeat([]byte("two"), 100_000)
	missing, err := s.Service.HasBlobs(s.ctx, []string{hash(one), hash(two)})
	s.must(err)
	if !slices.Equal(missing, []string{hash(one), hash(two)}) {
		s.Fatalf("missing: %v", missing)
	}
	err = s.Service.PutBlob(s.ctx, hash(one), 3, strings.NewReader("ONE"))
	s.wantCode(err, entropy.CodeInvalid)
	for range 2 { // storing what is there is harmless
		s.must(s.Service.PutBlob(s.ctx, hash(two), int64(len(two)), bytes.NewReader(two)))
	}
	missing, err = s.Service.HasBlobs(s.ctx, []string{hash(one), hash(two)})
	s.must(err)
	if !slices.Equal(missing, []string{hash(one)}) {
		s.Fatalf("missing: %v", missing)
	}
	r, err := s.node("w1").OpenBlob(s.ctx, hash(two))
	s.must(err)
	if !bytes.Equal(s.read(r), two) {
		s.Fatal("the blob differs")
	}
}
