package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// proves S-5, attack 23: nothing that somebody else wrote reaches the terminal
// as a control sequence, a line break, or a mark that turns the writing.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcödé 工作":       "plain ünïcödé 工作",
		"\x1b[2J\x1b]0;owned\a":  `\x1b[2J\x1b]0;owned\a`,
		"a\r\nforged row":        `a\r\nforged row`,
		"abc\u202edcba":          `abc\u202edcba`,
		"zero\u200bwidth\ufeff":  `zero\u200bwidth\ufeff`,
		"broken\xff\xc3":         `broken\xff\xc3`,
		"c1\u009b31m":            `c1\u009b31m`,
		"tab\tnbsp\u00a0del\x7f": `tab\tnbsp\u00a0del\x7f`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTameKeepsColorsOnly(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m\n":   "\x1b[1;31mred\x1b[0m\n",
		"50%\r100%\n":              "50%\r100%\n",
		"\x1b[2Jgone":              `\x1b[2Jgone`,
		"\x1b]0;title\x07":         `\x1b]0;title\a`,
		"\x1b\x1b[m":               `\x1b` + "\x1b[m",
		"ü\u202e\xff":              `ü\u202e\xff`,
		"\x1b[6n":                  `\x1b[6n`,
		"\x1b[" + digits(80) + "m": `\x1b[` + digits(80) + "m",
	} {
		var out bytes.Buffer
		(&tame{w: &out}).Write([]byte(in))
		if out.String() != want {
			t.Errorf("tame(%q) = %q, want %q", in, out.String(), want)
		}
	}
}

func digits(n int) string { return strings.Repeat("1", n) }

// FuzzTame: whatever a job writes and however it is cut, what reaches the
// terminal is printable, a line break, or a color; and cutting changes nothing.
func FuzzTame(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\x1b[2J\u202e\xff\n"), 3)
	f.Add([]byte("\x1b[\x1b[1m工"), 5)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var whole, cutUp bytes.Buffer
		(&tame{w: &whole}).Write(in)
		pieces := &tame{w: &cutUp}
		for i := 0; i < len(in); {
			n := min(len(in)-i, 1+int(uint(cut)%7))
			pieces.Write(in[i : i+n])
			i += n
		}
		if whole.String() != cutUp.String() {
			t.Fatalf("whole %q, in pieces %q", whole.String(), cutUp.String())
		}
		rest := whole.String()
		for len(rest) > 0 {
			r, n := utf8.DecodeRuneInString(rest)
			if r == 0x1b {
				end := strings.IndexByte(rest, 'm')
				if end < 2 || strings.Trim(rest[2:end], "0123456789;") != "" || rest[1] != '[' {
					t.Fatalf("an escape that is no color: %q", rest)
				}
				n = end + 1
			} else if !unicode.IsPrint(r) && !strings.ContainsRune("\n\r\t", r) {
				t.Fatalf("%q gets through", r)
			}
			rest = rest[n:]
		}
	})
}

func TestSpansAndSizes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3 * time.Millisecond: "3ms", 59 * time.Second: "59s", 61 * time.Second: "1m01s",
		90 * time.Minute: "1h30m", 50 * time.Hour: "2d02h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	if got := shorten("abcdef", 4); got != "abc…" {
		t.Errorf("shorten = %q", got)
	}
	if got := shellWords([]string{"sh", "-c", "echo 'a b'", ""}); got != `sh -c 'echo '\''a b'\''' ''` {
		t.Errorf("shellWords = %s", got)
	}
}
