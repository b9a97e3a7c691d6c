package entropy_test

import (
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves H-10, J-13: the policy's defaults and what is refused
func TestCheckpointPolicy(t *testing.T) {
	var none *entropy.CheckpointPolicy
	if none.KeepOrDefault() != 0 || none.MaxSizeOrDefault() != 0 {
		t.Error("no policy keeps something")
	}
	if p := new(entropy.CheckpointPolicy); p.KeepOrDefault() != 2 || p.MaxSizeOrDefault() != 16<<30 {
		t.Errorf("the defaults are %d and %d", p.KeepOrDefault(), p.MaxSizeOrDefault())
	}
	for text, want := range map[string]string{
		`{"command":["x"],"checkpoint":{}}`:                        "",
		`{"command":["x"],"checkpoint":{"keep":16,"max_size":1}}`:  "",
		`{"command":["x"],"checkpoint":{"keep":17}}`:               "checkpoint.keep",
		`{"command":["x"],"checkpoint":{"keep":-1}}`:               "checkpoint.keep",
		`{"command":["x"],"checkpoint":{"max_size":-1}}`:           "checkpoint.max_size",
		`{"command":["x"],"checkpoint":{"max_size":549755813889}}`: "checkpoint.max_size",
		`{"handler":"x","checkpoint":{}}`:                          "for commands",
	} {
		var s entropy.JobSpec
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		switch err := s.Validate(); {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func aManifest() *entropy.CheckpointManifest {
	sum := sha256.Sum256([]byte("content"))
	var l entropy.ChunkList
	for i := range uint32(3) {
		l = l.Append(entropy.Chunk{SHA256: sum, Pack: i % 2, Offset: i, Size: 10 + i})
	}
	return &entropy.CheckpointManifest{Format: entropy.CheckpointFormat, ChunkSize: 4096,
		Packs: []entropy.CheckpointPart{{SHA256: strings.Repeat("a", 64), Size: 100}, {SHA256: strings.Repeat("b", 64), Size: 11}},
		Dirs:  []entropy.CheckpointDir{{Path: "d", Mode: 0o700}, {Path: "d/empty", Mode: 0o500}},
		Files: []entropy.CheckpointFile{{Path: "d/f", Mode: 0o644, Size: 33, Chunks: l}, {Path: "zero", Mode: 0o600}}}
}

// proves H-10: a manifest reads back as it was written, under the name of its content
func TestCheckpointManifestRoundTrip(t *testing.T) {
	m := aManifest()
	b, part, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Packs[1].Size = 12 // chunk 1 ends at 12
	if _, err := entropy.DecodeCheckpointManifest(b); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a chunk beyond its pack: %v", err)
	}
	if b, part, err = m.Encode(); err != nil || part.Size != int64(len(b)) || !entropy.ValidSHA256(part.SHA256) {
		t.Fatal(part, err)
	}
	back, err := entropy.DecodeCheckpointManifest(b)
	if err != nil || !reflect.DeepEqual(back, m) || back.Size() != 33 || back.Files[0].Chunks.Len() != 3 {
		t.Errorf("%+v reads back as %+v, %v", m, back, err)
	}
	if c := back.Files[0].Chunks.At(2); c.Pack != 0 || c.Offset != 2 || c.Size != 12 {
		t.Errorf("chunk 2 is %+v", c)
	}
}

// proves S-5: whatever is read as a manifest, what is accepted leads nowhere else
func FuzzCheckpointManifest(f *testing.F) {
	b, _, err := aManifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, s := range []string{"", "null", "{}", `{"format":1}`, `{"format":1,"files":[{"path":"../x"}]}`, `{"format":1,"dirs":[{"path":"a"}],"files":[{"path":"a"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := entropy.DecodeCheckpointManifest(b)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for i := range m.Files {
			file := &m.Files[i]
			if !entropy.LocalPath(file.Path) || seen[file.Path] || file.Mode > 0o777 {
				t.Fatalf("file %q", file.Path)
			}
			seen[file.Path] = true
			total := int64(0)
			for k := range file.Chunks.Len() {
				c := file.Chunks.At(k)
				if int64(c.Offset)+int64(c.Size) > m.Packs[c.Pack].Size {
					t.Fatalf("chunk %d of %q", k, file.Path)
				}
				total += int64(c.Size)
			}
			if total != file.Size {
				t.Fatalf("%q has %d bytes, its chunks %d", file.Path, file.Size, total)
			}
		}
		for _, d := range m.Dirs {
			if !entropy.LocalPath(d.Path) || seen[d.Path] {
				t.Fatalf("directory %q", d.Path)
			}
		}
	})
}
