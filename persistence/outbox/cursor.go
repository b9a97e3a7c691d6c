package outbox

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// A cursor is a file of one line: the position and its CRC. It is replaced by a
// rename, so that a crash leaves the old one or the new one.

// readCursor returns the zero position when there is none. One that is damaged is
// none: the events then come again.
func readCursor(path string) (entropy.Position, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return entropy.Position{}, nil
	}
	if err != nil {
		return entropy.Position{}, fmt.Errorf("read the cursor: %w", err)
	}
	text, sum, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pos, err := entropy.ParsePosition(text)
	if err != nil || sum != checksum(text) {
		return entropy.Position{}, fmt.Errorf("the cursor %s is damaged", path)
	}
	return pos, nil
}

func checksum(text string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) }

func writeCursor(path string, pos entropy.Position) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the cursor: %w", err)
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write the cursor: %w", err)
	}
	text := pos.String()
	_, err = f.WriteString(text + " " + checksum(text) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the cursor: %w", errors.Join(err, os.Remove(f.Name())))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write the cursor: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
