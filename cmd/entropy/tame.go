package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// tame writes a job's output to a terminal so that it can color text and return
// the carriage, and nothing else: it cannot move the cursor elsewhere, set the
// title, answer for the keyboard, hide or turn text. Sequences that are cut by
// the border between two writes are held back until they are whole.
type tame struct {
	w    io.Writer
	held []byte
}

// maxHeld bounds an unfinished sequence that is held back.
const maxHeld = 64

func (t *tame) Write(p []byte) (int, error) {
	in := append(t.held, p...)
	t.held = nil
	var out bytes.Buffer
	for len(in) > 0 {
		n := t.step(&out, in)
		if n == 0 { // unfinished
			t.held = append([]byte(nil), in...)
			break
		}
		in = in[n:]
	}
	if _, err := t.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// step writes the first character or sequence of in and returns its length, 0
// when it is not whole yet.
func (t *tame) step(out *bytes.Buffer, in []byte) int {
	switch c := in[0]; {
	case c == '\n' || c == '\t' || c == '\r':
		out.WriteByte(c)
		return 1
	case c == 0x1b:
		return t.escape(out, in)
	case c < utf8.RuneSelf:
		writeSafe(out, rune(c))
		return 1
	}
	if !utf8.FullRune(in) {
		return 0
	}
	r, n := utf8.DecodeRune(in)
	if r == utf8.RuneError && n == 1 {
		fmt.Fprintf(out, `\x%02x`, in[0])
		return 1
	}
	writeSafe(out, r)
	return n
}

// escape passes ESC [ digits and semicolons m, which only colors.
func (t *tame) escape(out *bytes.Buffer, in []byte) int {
	for i := 1; i < len(in) && i < maxHeld; i++ {
		c := in[i]
		switch {
		case i == 1 && c == '[', i > 1 && (c == ';' || '0' <= c && c <= '9'):
			continue
		case i > 1 && c == 'm':
			out.Write(in[:i+1])
			return i + 1
		}
		out.WriteString(`\x1b`)
		return 1
	}
	if len(in) < maxHeld {
		return 0
	}
	out.WriteString(`\x1b`)
	return 1
}

func writeSafe(out *bytes.Buffer, r rune) {
	if unicode.IsPrint(r) {
		out.WriteRune(r)
		return
	}
	out.WriteString(printable(string(r)))
}
