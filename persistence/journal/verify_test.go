package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// example makes a closed journal with a little of everything.
func example(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	w, _ := register(t, "w1")
	must(t, j, w)
	s := spec()
	s.Labels, s.Require = map[string]string{"batch": "1"}, map[string]string{"os": "linux"}
	a := newTracker("a")
	must(t, j, a.submit(t, s))
	must(t, j, a.assign(t, "w1", 1), newTracker("queued").submit(t, s))
	must(t, j, a.ack(t))
	must(t, j, a.lose(t))
	must(t, j, a.requeue(t))
	must(t, j, a.assign(t, "w1", 2))
	must(t, j, a.ack(t))
	must(t, j, a.succeed(t))
	running := newTracker("running")
	must(t, j, running.submit(t, s), running.assign(t, "w1", 3), running.ack(t))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// proves P-2, P-4: whatever of the journal is not as it was written is found.
func TestVerifyFindsEveryKindOfDamage(t *testing.T) {
	t.Parallel()
	clean := example(t)
	if r := verifiedFile(t, clean); r.Events != 14 || r.Jobs != 3 || r.Findings[0].Lost != 1 || r.Findings[0].Assigned != 2 {
		t.Fatalf("example: %s %+v", r.String(), r.Findings)
	}
	content, err := os.ReadFile(clean)
	if err != nil {
		t.Fatal(err)
	}
	for what, sql := range map[string]string{
		"body":         `UPDATE event SET body = replace(body, '"worker_id":"w1"', '"worker_id":"w2"') WHERE seq = 3`,
		"type":         `UPDATE event SET type = 'job.failed' WHERE type = 'job.succeeded'`,
		"crc":          `UPDATE event SET crc = crc + 1 WHERE seq = 1`,
		"version":      `UPDATE event SET version = 40 WHERE seq = 2`,
		"gone":         `DELETE FROM event WHERE seq = 4`,
		"first gone":   `DELETE FROM event WHERE seq = 1`,
		"cut":          `DELETE FROM event WHERE seq > 11; DELETE FROM batch_seal WHERE last_seq > 11`,
		"unsealed":     `DELETE FROM batch_seal WHERE last_seq = 2`,
		"name":         `UPDATE entity SET name = 'job:b' WHERE name = 'job:a'`,
		"cluster":      `UPDATE meta SET v = 'another' WHERE k = 'cluster_id'`,
		"state":        `UPDATE job SET state = 'failed' WHERE id = 'a'`,
		"held":         `UPDATE job SET held = 1 WHERE id = 'queued'`,
		"wake":         `UPDATE job SET wake_ms = 1 WHERE id = 'queued'`,
		"job gone":     `DELETE FROM job WHERE id = 'queued'`,
		"record":       `UPDATE job_record SET record = replace(record, '"attempt":2', '"attempt":3')`,
		"record gone":  `UPDATE job_record SET version = version + 1`,
		"spec":         `UPDATE job_spec SET spec = replace(spec, 'sha256sum', 'md5sum')`,
		"label gone":   `DELETE FROM job_label WHERE ordinal = (SELECT ordinal FROM job WHERE id = 'a')`,
		"label moved":  `UPDATE job_label SET value = '2' WHERE ordinal = (SELECT ordinal FROM job WHERE id = 'a')`,
		"lease gone":   `DELETE FROM lease`,
		"lease moved":  `UPDATE lease SET worker_id = 'w9'`,
		"lease stale":  `INSERT INTO lease VALUES ((SELECT ordinal FROM job WHERE id = 'a'), 'x', 'w1', 1, 1)`,
		"claim":        `UPDATE claim SET claim_seq = 9`,
		"claim gone":   `DELETE FROM claim`,
		"worker":       `UPDATE doc SET record = replace(record, 'alive', 'lost')`,
		"worker gone":  `DELETE FROM doc`,
		"worker extra": `INSERT INTO doc VALUES ('worker', 'w2', 1, '{}')`,
		"job extra":    `INSERT INTO entity VALUES (99, 'job:x'); INSERT INTO job SELECT 99, 'x', version, state, held, excluded, retried, blocked, priority, name, queue, tenant, handler, demand, created_ms, eligible_ms, wake_ms, finished_ms FROM job WHERE id = 'a'`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			raw(t, path, sql)
			r, err := VerifyFile(bg, path)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() {
				t.Errorf("nothing was found: %s", r.String())
			}
			if strings.Count(r.String(), "\n") < 5 {
				t.Errorf("report says too little: %s", r.String())
			}
		})
	}
}

// proves P-2: a flipped bit in the file's pages does not go unnoticed where it
// matters, and never makes verify itself fail.
func TestFlippedBitsAreNoticed(t *testing.T) {
	t.Parallel()
	clean := example(t)
	raw(t, clean, "VACUUM") // no free space with old copies in the leaves
	content, err := os.ReadFile(clean)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(memoryDir(t), "journal.db")
	for _, text := range []string{"sha256sum", `"worker_id":"w1"`, "job.succeeded", `"incarnation":1`, "job:a"} {
		for at, n := 0, 0; ; n++ {
			i := strings.Index(string(content[at:]), text)
			if i < 0 {
				if n == 0 {
					t.Fatalf("%q is not in the file", text)
				}
				break
			}
			at += i + 1
			if kind := content[at/4096*4096]; kind == 2 || kind == 5 {
				continue // an inner page: in its free space is what it held as a leaf
			}
			b := append([]byte(nil), content...)
			b[at] ^= 4
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := VerifyFile(bg, path)
			if err == nil && r.OK() {
				t.Errorf("a flipped bit in %q at offset %d was not noticed", text, at)
			}
		}
	}
}

func TestATornFileIsReported(t *testing.T) {
	t.Parallel()
	clean := example(t)
	content, err := os.ReadFile(clean)
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []int{50, 4096, len(content) / 2, len(content) - 4096, len(content) - 100} {
		path := filepath.Join(t.TempDir(), "journal.db")
		if err := os.WriteFile(path, content[:keep], 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyFile(bg, path)
		if err == nil && r.OK() {
			t.Errorf("a file cut to %d of %d bytes passes", keep, len(content))
		}
		if e := entropy.AsError(err); err != nil && (e.Code == entropy.CodeInternal || e.Hint == "") {
			t.Errorf("cut to %d bytes: unclear error %v", keep, err)
		}
	}
}

// proves P-4: verify works beside a running journal and writes nothing.
func TestVerifyBesideARunningJournal(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				runJob(t, j, name("j%d", i), "w", uint64(i+1))
			}
		}
	}()
	waitFor(t, "there is something to verify", func() bool { return j.Seq() > 20 })
	for range 3 {
		var done, total uint64
		r, err := j.Verify(bg, func(d, n uint64) { done, total = d, n })
		if err != nil || !r.OK() || r.Events == 0 || done != total || done != 2*r.Events {
			t.Errorf("verify: %s, %v; progress %d of %d", r.String(), err, done, total)
		}
		other, err := VerifyFile(bg, j.path)
		if err != nil || !other.OK() || other.Events < r.Events {
			t.Errorf("verify file: %s, %v", other.String(), err)
		}
	}
	close(stop)
	<-ended
}

func TestReportIsJSON(t *testing.T) {
	t.Parallel()
	r, err := VerifyFile(bg, example(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(&r)
	var back Report
	if err != nil || json.Unmarshal(b, &back) != nil || back.Events != r.Events || len(back.Findings) != 3 || back.States[entropy.Succeeded] != 1 {
		t.Errorf("%s, %v", b, err)
	}
}

// Liveness and statistics of a journal that did something.
func TestStats(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	for i := range 5 {
		runJob(t, j, name("j%d", i), "w", uint64(i+1))
	}
	s := j.Stats()
	if s.Batches != 20 || s.Events != 20 || s.Appends != 20 || s.LastBatch != 1 || s.Queue != 0 || s.Bytes == 0 {
		t.Errorf("stats %+v", s)
	}
	if c := s.Commit; c.Count != 20 || c.Sum <= 0 || len(c.Bounds) != len(c.Counts) || c.Counts[len(c.Counts)-1] > 20 {
		t.Errorf("histogram %+v", c)
	}
	j.stats.committed(nil, time.Hour)
	if c := j.Stats().Commit; c.Count != 21 || c.Counts[len(c.Counts)-1] > 20 {
		t.Errorf("histogram %+v: an hour is in no bucket", c)
	}
}

// What a program in the same process hands over may be empty where JSON has
// nothing; a replay gives the stored state all the same.
//
// proves P-2
func TestEmptyAndAbsentAreStoredAlike(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	w := &entropy.Worker{ID: "w"}
	events, _, err := w.Register(entropy.Registration{Nonce: "n", KeyHash: "k", BootID: "b", SpoolID: "s", Slots: 1,
		Labels: map[string]string{}, Resources: entropy.Resources{}, Handlers: []string{}}, epoch0)
	if err != nil {
		t.Fatal(err)
	}
	ch, _ := workerChange(t, w, events)
	must(t, j, ch)
	s := spec()
	s.Labels, s.Env, s.Inputs, s.Require = map[string]string{}, map[string]string{}, []entropy.Input{}, map[string]string{}
	k := newTracker("a")
	must(t, j, k.submit(t, s))
	must(t, j, k.assign(t, "w", 1), k.ack(t))
	must(t, j, k.succeed(t))
	verified(t, j)
}
