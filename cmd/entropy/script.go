package main

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
)

// script is a file that is submitted as a job: it is shipped, and its header may
// hold flags.
type script struct {
	path       string
	directives []directive
}

// directive is one line "#ENTROPY FLAGS…" of a header.
type directive struct {
	line  int
	words []string
}

const (
	directiveMark = "#ENTROPY"
	maxHeader     = 64 << 10 // bytes of a script that are looked at
)

// readScript reads the header of a script: its first line, which begins with
// "#!", and what follows of comments and empty lines. A word that is no file, or a
// file without that first line, is no script: nil.
func readScript(path string) (*script, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, usagef("%s: %v", path, err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usagef("%s: %v", path, err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxHeader)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "#!") {
		return nil, nil
	}
	s := &script{path: path}
	for n, size := 2, 0; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if size += len(line) + 1; size > maxHeader || line != "" && line[0] != '#' {
			break // the header is over
		}
		if err := s.read(n, line); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) { // a longer line is no directive
		return nil, usagef("%s: %v", path, err)
	}
	return s, nil
}

// read takes the flags of one line of the header, if it has some.
func (s *script) read(n int, line string) error {
	rest, ok := strings.CutPrefix(line, directiveMark)
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return nil
	}
	words, err := splitWords(rest)
	if err != nil {
		return usagef("%s:%d: %v", s.path, n, err)
	}
	s.directives = append(s.directives, directive{n, words})
	return nil
}

// splitWords splits a line as a shell does, with quotes and backslashes, and
// expands nothing.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	in, quote := false, rune(0)
	escaped := false
	for _, r := range line {
		switch {
		case unicode.IsControl(r) && r != '\t':
			return nil, errors.New("the line holds a control character")
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			in, quote = true, r
		case r == ' ' || r == '\t':
			if in {
				words = append(words, word.String())
				word.Reset()
			}
			in = false
		case r == '#' && !in: // a comment
			return words, nil
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}

// flags returns the flags of the header, overridden by those that were given on
// the command line. Only what says what the job is may stand in a header: not its
// ID, nor what this command is to do.
func (s *script) flags(given *pflag.FlagSet, cli *submitFlags) (*submitFlags, error) {
	merged := new(submitFlags)
	header := pflag.NewFlagSet(s.path, pflag.ContinueOnError)
	header.Usage = func() {}
	merged.register(header)
	for _, d := range s.directives {
		if err := header.Parse(d.words); err != nil {
			return nil, usagef("%s:%d: %v", s.path, d.line, err).WithHint("a line %s holds flags of entropy submit; see entropy submit --help", directiveMark)
		}
		if header.NArg() > 0 {
			return nil, usagef("%s:%d: %q is not a flag", s.path, d.line, header.Arg(0)).WithHint("quote a value that has spaces, as in --name 'two words'")
		}
		if header.Changed("id") || header.Changed("idempotency-key") {
			return nil, usagef("%s:%d: a script cannot choose its job's ID", s.path, d.line).WithHint("give --id on the command line")
		}
	}
	if err := override(header, given); err != nil {
		return nil, err
	}
	merged.input, merged.script = append(merged.input, s.path), s.path
	merged.wait, merged.waitTimeout = cli.wait, cli.waitTimeout
	return merged, nil
}

// override sets in dst what was given in src: a flag of src replaces the same
// flag of dst, a repeatable one with all its values.
func override(dst, src *pflag.FlagSet) (err error) {
	src.Visit(func(f *pflag.Flag) {
		to := dst.Lookup(f.Name)
		if to == nil || err != nil {
			return // a flag of all commands, or of this one alone
		}
		to.Changed = true
		if from, ok := f.Value.(pflag.SliceValue); ok {
			err = to.Value.(pflag.SliceValue).Replace(from.GetSlice())
			return
		}
		err = to.Value.Set(f.Value.String())
	})
	return err
}

// argv returns the command line that runs the shipped script: by its own first
// line, in the job's directory.
func (s *script) argv(args []string) []string {
	base := filepath.Base(s.path)
	return append([]string{"sh", "-c", `exec "$ENTROPY_INPUT_DIR/$0" "$@"`, base}, args...)
}
