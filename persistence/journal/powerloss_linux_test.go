package journal

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Power loss is played back from what a real process did to its disk. A cut falls
// anywhere. What a file had been given before its last completed fsync is there;
// of what came later any part may be: nothing, all, some writes and not others, and
// of a write some sectors and not others. Not played: a disk that lies about fsync,
// and lost directory entries.

// diskOp is one record of the shim's log.
type diskOp struct {
	op, file byte
	off      int64 // of an fsync: the thread that calls it; of an acknowledgment: the version
	data     []byte
}

func readLog(t *testing.T, path string) (ops []diskOp) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 14 {
		n := 14 + int(binary.LittleEndian.Uint32(b[10:]))
		if n > len(b) {
			break
		}
		ops = append(ops, diskOp{b[0], b[1], int64(binary.LittleEndian.Uint64(b[2:])), b[14:n]})
		b = b[n:]
	}
	return ops
}

// image is a file as the disk holds it.
type image struct {
	durable []byte
	pending []diskOp      // written and not yet synced
	syncing map[int64]int // how many of pending the fsync under way of each thread covers
}

func (m *image) do(o diskOp) {
	switch o.op {
	case 'W', 'T':
		m.pending = append(m.pending, o)
	case 'B':
		if m.syncing == nil {
			m.syncing = map[int64]int{}
		}
		m.syncing[o.off] = len(m.pending)
	case 'E':
		n := m.syncing[o.off]
		for _, p := range m.pending[:n] {
			m.durable = put(m.durable, p)
		}
		m.pending = slices.Clone(m.pending[n:])
		for thread := range m.syncing {
			m.syncing[thread] = max(0, m.syncing[thread]-n)
		}
	}
}

func put(b []byte, o diskOp) []byte {
	if o.op == 'T' {
		if o.off < int64(len(b)) {
			return b[:o.off]
		}
		return append(b, make([]byte, o.off-int64(len(b)))...)
	}
	if end := o.off + int64(len(o.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[o.off:], o.data)
	return b
}

// lose returns the file as a power cut now might leave it.
func (m *image) lose(rng *rand.Rand) []byte {
	b := slices.Clone(m.durable)
	fate := rng.IntN(4)
	for _, o := range m.pending {
		switch {
		case fate == 0, fate > 1 && rng.IntN(2) == 0:
			continue // lost
		case fate == 3 && o.op == 'W':
			b = tear(b, o, rng)
		default:
			b = put(b, o)
		}
	}
	return b
}

// tear writes some of the sectors of a write.
func tear(b []byte, o diskOp, rng *rand.Rand) []byte {
	const sector = 512
	for at := 0; at < len(o.data); {
		n := min(sector-int(o.off+int64(at))%sector, len(o.data)-at)
		if rng.IntN(4) > 0 {
			b = put(b, diskOp{'W', o.file, o.off + int64(at), o.data[at : at+n]})
		}
		at += n
	}
	return b
}

// recordedLoad runs a load in a process whose disk is watched.
func recordedLoad(t *testing.T, env ...string) []diskOp {
	t.Helper()
	dir := memoryDir(t)
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(env, shim(t), "JOURNAL_TEST_PATH="+filepath.Join(dir, "journal.db"), "JOURNAL_TEST_JOBS=20",
		"JOURNAL_TEST_PREFIX=p", "ENTROPY_SHIM_LOG="+log)
	if out, err := child(t, "load", env...).Output(); err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	return readLog(t, log)
}

// cutPower plays the log back to random cuts and calls check with the directory of
// each image and what had been acknowledged by then. Check returns false to end it.
func cutPower(t *testing.T, ops []diskOp, images int, seed uint64, check func(path string, acked map[string]int) bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	first := slices.IndexFunc(ops, func(o diskOp) bool { return o.op == 'A' })
	cuts := make([]int, images)
	for i := range cuts {
		cuts[i] = first + 1 + rng.IntN(len(ops)-first)
	}
	slices.Sort(cuts)
	files := map[byte]*image{'d': {}, 'w': {}}
	acked := map[string]int{}
	at := 0
	for _, cut := range cuts {
		for ; at < cut; at++ {
			if o := ops[at]; o.op == 'A' {
				acked[string(o.data)] = int(o.off)
			} else {
				files[o.file].do(o)
			}
		}
		path := filepath.Join(memoryDir(t), "journal.db")
		for file, suffix := range map[byte]string{'d': "", 'w': "-wal"} {
			if err := os.WriteFile(path+suffix, files[file].lose(rng), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if !check(path, maps.Clone(acked)) {
			return
		}
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// proves P-1, H-13
func TestPowerLossLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	ops := recordedLoad(t)
	kinds := map[string]int{}
	for _, o := range ops {
		kinds[string([]byte{o.op, o.file})]++
	}
	if kinds["A\x00"] != 640 || kinds["Ew"] == 0 || kinds["Wd"] < 100 {
		t.Fatalf("the log does not show a load with checkpoints: %v", kinds)
	}
	images := 200
	if testing.Short() {
		images = 40
	}
	cutPower(t, ops, images, 1, func(path string, acked map[string]int) bool {
		checkAcked(t, path, acked)
		verifiedFile(t, path)
		return true
	})
}

// The test above finds what it is for: with synchronous=NORMAL, the driver's own
// default, acknowledged events are lost.
//
// proves P-1
func TestPowerLossFindsTheDefaultSetting(t *testing.T) {
	t.Parallel()
	ops := recordedLoad(t, "JOURNAL_TEST_UNSAFE=1")
	lost, tried := 0, 0
	cutPower(t, ops, 200, 2, func(path string, acked map[string]int) bool {
		tried++
		if len(lostOf(t, path, acked)) > 0 {
			lost++
		}
		return lost == 0
	})
	if lost == 0 {
		t.Errorf("%d power cuts of a journal with synchronous=NORMAL lost nothing: this test would not find it", tried)
	}
	t.Logf("image %d lost acknowledged events", tried)
}

// proves P-1: the playback itself keeps what was synced and drops what was not.
func TestThePlaybackDropsOnlyWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	m := new(image)
	for _, o := range []diskOp{{'W', 'd', 0, []byte("safe")}, {'B', 'd', 7, nil}, {'W', 'd', 4, []byte("late")},
		{'B', 'd', 8, nil}, {'E', 'd', 7, nil}} {
		m.do(o)
	}
	seen := map[string]bool{}
	for seed := range uint64(100) {
		got := m.lose(rand.New(rand.NewPCG(seed, seed)))
		if !bytes.HasPrefix(got, []byte("safe")) {
			t.Fatalf("synced bytes were lost: %q", got)
		}
		seen[string(got)] = true
	}
	if !seen["safe"] || !seen["safelate"] {
		t.Errorf("fates seen: %v", seen)
	}
}
