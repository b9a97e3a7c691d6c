package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func artifactOf(name string, p []byte) entropy.Artifact {
	return entropy.Artifact{Name: name, SHA256: sumOf(p), Size: int64(len(p))}
}

func stage(t testing.TB, s *Store, a entropy.AssignmentID, p []byte) {
	t.Helper()
	n, err := s.Stage(t.Context(), a, sumOf(p), int64(len(p)), 0, bytes.NewReader(p))
	if err != nil || n != int64(len(p)) {
		t.Fatalf("staged %d of %d bytes: %v", n, len(p), err)
	}
}

// proves W-7: uploads of random ranges, in any order, with breaks, restarts of
// the store and several artifacts at once, end with exactly the content; the
// answer is always what is staged.
func TestStageRandomRanges(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newStore(t)
		var contents [][]byte
		for i := range 3 {
			contents = append(contents, noise(seed*10+uint64(i), rng.IntN(40_000)))
		}
		have := make([]int64, len(contents)) // the model
		for step := range 60 {
			i := rng.IntN(len(contents))
			p := contents[i]
			size := int64(len(p))
			from := rng.Int64N(size + 1)
			if rng.IntN(3) > 0 {
				from = min(have[i], size) // as a well-behaved worker resumes
			}
			to := from + rng.Int64N(size-from+1)
			var r io.Reader = bytes.NewReader(p[from:to])
			broken := rng.IntN(4) == 0
			if broken {
				r = io.MultiReader(r, failing{errors.New("link down")})
			}
			whole := have[i] == size && step > 0 && size > 0
			got, err := s.Stage(t.Context(), "job-1", sumOf(p), size, from, r)
			if from <= have[i] {
				have[i] = max(have[i], to)
			}
			if got != have[i] || err != nil && (!broken || whole) {
				t.Fatalf("seed %d step %d: staged %d, want %d; error %v", seed, step, got, have[i], err)
			}
			if rng.IntN(15) == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = reopen(t, s.conf, quickDisk())
			}
		}
		var arts []entropy.Artifact
		for i, p := range contents {
			n, err := s.Stage(t.Context(), "job-1", sumOf(p), int64(len(p)), have[i], bytes.NewReader(p[have[i]:]))
			if err != nil || n != int64(len(p)) {
				t.Fatalf("seed %d: last piece: staged %d, %v", seed, n, err)
			}
			arts = append(arts, artifactOf(fmt.Sprint(i), p))
		}
		if missing, err := s.Publish(t.Context(), "job-1", arts); len(missing) > 0 || err != nil {
			t.Fatalf("seed %d: missing %v, %v", seed, missing, err)
		}
		for _, p := range contents {
			if !bytes.Equal(contentOf(t, s, sumOf(p)), p) {
				t.Fatalf("seed %d: published content differs", seed)
			}
		}
		if left := files(t, s, stageDir); len(left) > 0 {
			t.Fatalf("seed %d: staged files remain: %v", seed, left)
		}
	}
}

// proves W-7: uploads of one artifact that overlap in time complete it once.
func TestStageConcurrently(t *testing.T) {
	s, p := newStore(t), noise(3, 1<<20)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 2))
			for at := int64(0); at < int64(len(p)); {
				end := min(int64(len(p)), at+rng.Int64N(200_000)+1)
				n, err := s.Stage(t.Context(), "a", sumOf(p), int64(len(p)), at, bytes.NewReader(p[at:end]))
				if err != nil || n < end {
					t.Errorf("staged %d after [%d,%d): %v", n, at, end, err)
					return
				}
				at = n
			}
		})
	}
	wg.Wait()
	if missing, err := s.Publish(t.Context(), "a", []entropy.Artifact{artifactOf("x", p)}); len(missing) > 0 || err != nil {
		t.Fatalf("missing %v, %v", missing, err)
	}
	if !bytes.Equal(contentOf(t, s, sumOf(p)), p) {
		t.Fatal("published content differs")
	}
}

// proves W-7: an upload whose link hangs holds up no other upload of the same artifact.
func TestStageBesideHangingUpload(t *testing.T) {
	s, p := newStore(t), noise(4, 1000)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Stage(t.Context(), "a", sumOf(p), 1000, 0, r)
		done <- err
	}()
	if _, err := w.Write(p[:300]); err != nil { // returns when the piece was taken
		t.Fatal(err)
	}
	stage(t, s, "a", p)
	if missing, err := s.Publish(t.Context(), "a", []entropy.Artifact{artifactOf("x", p)}); len(missing) > 0 || err != nil {
		t.Fatalf("missing %v, %v", missing, err)
	}
	w.CloseWithError(errors.New("timed out"))
	<-done // with an error, or without if its first piece came after the whole
}

// proves W-7: content that differs from its hash is dropped, whatever way it
// came, and can be sent again.
func TestStageMismatch(t *testing.T) {
	s, p := newStore(t), noise(5, 5000)
	bad := bytes.Clone(p)
	bad[4999] ^= 1
	if n, err := s.Stage(t.Context(), "a", sumOf(p), 5000, 0, bytes.NewReader(bad[:3000])); n != 3000 || err != nil {
		t.Fatalf("staged %d: %v", n, err)
	}
	n, err := s.Stage(t.Context(), "a", sumOf(p), 5000, 3000, bytes.NewReader(bad[3000:]))
	wantCode(t, err, entropy.CodeInvalid)
	if left := files(t, s, stageDir); len(left) > 0 || n != 0 {
		t.Fatalf("staged %d, files remain: %v", n, left)
	}
	missing, err := s.Publish(t.Context(), "a", []entropy.Artifact{artifactOf("x", p)})
	if err != nil || !slices.Equal(missing, []string{sumOf(p)}) {
		t.Fatalf("missing %v, %v", missing, err)
	}
	stage(t, s, "a", p)
	// Two sizes of one content cannot both be right.
	if _, err := s.Stage(t.Context(), "a", sumOf(p), 4000, 0, bytes.NewReader(p)); err == nil {
		t.Fatal("another size of a whole artifact was accepted")
	}
	q := noise(6, 100)
	if n, err := s.Stage(t.Context(), "a", sumOf(q), 120, 0, bytes.NewReader(noise(7, 110))); n != 110 || err != nil {
		t.Fatalf("staged %d: %v", n, err)
	}
	_, err = s.Stage(t.Context(), "a", sumOf(q), 100, 0, bytes.NewReader(q))
	wantCode(t, err, entropy.CodeInvalid)
	stage(t, s, "a", q)
}

// proves W-7: bounds on what one assignment may stage.
func TestStageLimits(t *testing.T) {
	s := newStore(t, func(c *Config) { c.MaxStaged = 1000; c.MaxBlob = 900 })
	p, q := noise(1, 600), noise(2, 600)
	stage(t, s, "a", p)
	n, err := s.Stage(t.Context(), "a", sumOf(q), 600, 0, bytes.NewReader(q))
	wantCode(t, err, entropy.CodeTooLarge)
	if n != 0 {
		t.Fatalf("staged %d", n)
	}
	stage(t, s, "b", q) // another assignment has its own bound
	if _, err := s.Publish(t.Context(), "a", []entropy.Artifact{artifactOf("x", p)}); err != nil {
		t.Fatal(err)
	}
	stage(t, s, "a", q) // what was published no longer counts
	_, err = s.Stage(t.Context(), "a", sumOf(p), 901, 0, nil)
	wantCode(t, err, entropy.CodeTooLarge)
	for _, offset := range []int64{-1, 601} {
		_, err = s.Stage(t.Context(), "a", sumOf(p), 600, offset, nil)
		wantCode(t, err, entropy.CodeInvalid)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Stage(canceled, "c", sumOf(noise(9, 9)), 9, 0, bytes.NewReader(noise(9, 9))); !errors.Is(err, context.Canceled) {
		t.Fatalf("staged under a canceled context: %v", err)
	}
}

// proves J-4: publishing is idempotent, also for repeats at the same time and
// after a restart, and content shared by assignments is stored once.
func TestPublish(t *testing.T) {
	s := newStore(t)
	p, q, r := noise(1, 3000), noise(2, 3000), []byte(nil)
	for _, a := range []entropy.AssignmentID{"a", "b"} {
		for _, c := range [][]byte{p, q, r} {
			stage(t, s, a, c)
		}
	}
	if _, err := s.Stage(t.Context(), "a", sumOf(noise(3, 50)), 50, 0, bytes.NewReader(noise(3, 50)[:20])); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s.conf, quickDisk())
	arts := []entropy.Artifact{artifactOf("p", p), artifactOf("q", q), artifactOf("again", p), artifactOf("empty", r)}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := entropy.AssignmentID([]string{"a", "b"}[i%2])
			if missing, err := s.Publish(t.Context(), a, arts); len(missing) > 0 || err != nil {
				t.Errorf("missing %v, %v", missing, err)
			}
		})
	}
	wg.Wait()
	if got := files(t, s, stageDir); !slices.Equal(got, []string{"a/" + sumOf(noise(3, 50)) + ".part"}) {
		t.Fatalf("staged files after publishing: %v", got)
	}
	gone := artifactOf("gone", noise(8, 8))
	half := artifactOf("half", noise(3, 50))
	wrong := artifactOf("wrong size", p)
	wrong.Size++
	missing, err := s.Publish(t.Context(), "a", append(arts, gone, half, gone))
	if err != nil || !slices.Equal(missing, []string{gone.SHA256, half.SHA256}) {
		t.Fatalf("missing %v, %v", missing, err)
	}
	if missing, err = s.Publish(t.Context(), "a", []entropy.Artifact{wrong}); err != nil || len(missing) != 1 {
		t.Fatalf("wrong size: missing %v, %v", missing, err)
	}
	if n, bad, err := s.Verify(t.Context()); n != 3 || len(bad) > 0 || err != nil {
		t.Fatalf("verify: %d checked, bad %v, %v", n, bad, err)
	}
}

// proves W-7: leftovers become evidence, bounded, oldest removed first, until swept.
func TestEvidence(t *testing.T) {
	s := newStore(t, func(c *Config) { c.MaxEvidence = 3 * minEvidence })
	for i, a := range []entropy.AssignmentID{"a", "b", "c", "d"} {
		stage(t, s, a, noise(uint64(i), 100))
		s.Discard(a)
		s.Discard(a)
	}
	at := func(a string, i int) string { return a + "/" + sumOf(noise(uint64(i), 100)) }
	if got := files(t, s, evidenceDir); !slices.Equal(got, []string{at("b", 1), at("c", 2), at("d", 3)}) {
		t.Fatalf("evidence: %v", got)
	}
	stage(t, s, "b", noise(9, 100)) // a late piece of an assignment that has evidence
	s.Discard("b")
	if got := files(t, s, evidenceDir); !slices.Equal(got, sorted(at("b", 1), at("b", 9), at("d", 3))) {
		t.Fatalf("evidence after a second discard: %v", got)
	}
	old := time.Now().Add(-time.Hour)
	stage(t, s, "idle", noise(10, 100))
	stage(t, s, "fresh", noise(11, 100))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{s.path(evidenceDir, at("d", 3)), s.path(evidenceDir, "d"), s.path(stageDir, at("idle", 10)), s.path(stageDir, "idle")} {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s.conf, quickDisk())
	if n, err := s.Sweep(old.Add(time.Minute)); n != 2 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if got := append(files(t, s, evidenceDir), files(t, s, stageDir)...); !slices.Equal(got, sorted(at("b", 1), at("b", 9), at("fresh", 11))) {
		t.Fatalf("after the sweep: %v", got)
	}
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}

// proves J-4: once discarded, an upload under way is told to stop, and changes
// nothing that was set aside.
func TestDiscardEndsUploads(t *testing.T) {
	s, p := newStore(t), noise(4, 1000)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Stage(t.Context(), "a", sumOf(p), 1000, 0, r)
		done <- err
	}()
	for _, piece := range [][]byte{p[:300], p[300:301]} {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	s.Discard("a")
	go w.Write(p[301:]) // the upload may have ended already, at the piece it was still holding
	wantCode(t, <-done, entropy.CodeSuperseded)
	r.Close()
	if got := files(t, s, stageDir); len(got) > 0 {
		t.Fatalf("staged after the discard: %v", got)
	}
	if got := files(t, s, evidenceDir); !slices.Equal(got, []string{"a/" + sumOf(p) + ".part"}) {
		t.Fatalf("evidence: %v", got)
	}
	stage(t, s, "a", p) // the fence is the caller's; the store starts anew
}

// Uploads, publishing, discarding, sweeping and closing at once: nothing wrong
// is ever published, and nothing hangs.
func TestEverythingAtOnce(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 3))
			for range 60 {
				a := entropy.AssignmentID(fmt.Sprint("a", rng.IntN(3)))
				p := noise(rng.Uint64N(6), 2000)
				switch rng.IntN(6) {
				case 0:
					s.Publish(t.Context(), a, []entropy.Artifact{artifactOf("x", p)})
				case 1:
					s.Discard(a)
				case 2:
					s.Sweep(time.Now())
				case 3:
					s.AppendLog(a, "stdout", 0, p)
				default:
					s.Stage(t.Context(), a, sumOf(p), 2000, 0, io.MultiReader(bytes.NewReader(p[:777]), bytes.NewReader(p[777:])))
				}
			}
		})
	}
	wg.Wait()
	if _, bad, err := s.Verify(t.Context()); len(bad) > 0 || err != nil {
		t.Fatalf("bad %v, %v", bad, err)
	}
	for i := range uint64(6) {
		for _, a := range []entropy.AssignmentID{"a0", "a1", "a2"} {
			p := noise(i, 2000)
			stage(t, s, a, p)
			if missing, err := s.Publish(t.Context(), a, []entropy.Artifact{artifactOf("x", p)}); len(missing) > 0 || err != nil {
				t.Fatalf("missing %v, %v", missing, err)
			}
		}
	}
}

func BenchmarkStagePublishSmall(b *testing.B) {
	s := reopen(b, Config{Dir: b.TempDir()}, realDisk())
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				p := fmt.Appendf(nil, "content %d", i)
				a := entropy.AssignmentID(fmt.Sprint("a", i))
				if _, err := s.Stage(context.Background(), a, sumOf(p), int64(len(p)), 0, bytes.NewReader(p)); err != nil {
					b.Error(err)
				}
				if missing, err := s.Publish(context.Background(), a, []entropy.Artifact{artifactOf("x", p)}); len(missing) > 0 || err != nil {
					b.Error(missing, err)
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "artifacts/s")
}
