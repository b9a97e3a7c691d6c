package builtin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a reference to a secret: "env:NAME" is that environment variable of
// the executor, "file:/path" the content of that file without its last line end.
// The reference may be shown; the secret is read when it is used, so it can be
// replaced without a restart, and is never in an event or a log.
type Secret string

const maxSecret = 64 << 10 // bytes of a file

// Validate reports whether s is a reference. It does not read the secret.
func (s Secret) Validate() error {
	kind, name, _ := strings.Cut(string(s), ":")
	switch {
	case kind == "env" && name != "" && !strings.ContainsAny(name, "=\x00"):
		return nil
	case kind == "file" && filepath.IsAbs(name):
		return nil
	}
	// The text is not quoted: it may be the secret itself, put here by mistake.
	return errors.New("a secret is given by reference, as env:NAME or file:/path")
}

// Read returns the secret.
func (s Secret) Read() (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	kind, name, _ := strings.Cut(string(s), ":")
	if kind == "env" {
		v, ok := os.LookupEnv(name)
		if !ok || v == "" {
			return "", fmt.Errorf("the secret %s is not set", s)
		}
		return v, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("the secret %s: %w", s, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case err != nil:
		return "", fmt.Errorf("the secret %s: %w", s, err)
	case len(b) > maxSecret:
		return "", fmt.Errorf("the secret %s has more than %d bytes", s, maxSecret)
	case v == "":
		return "", fmt.Errorf("the secret %s is empty", s)
	}
	return v, nil
}

// Value is a setting that may hold a secret: Text, or Prefix followed by a secret,
// as in {"prefix": "Bearer ", "secret": "env:TOKEN"}.
type Value struct {
	Text   string `json:"text,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Secret Secret `json:"secret,omitempty"`
}

// Validate reports whether v is one or the other.
func (v Value) Validate() error {
	if v.Secret == "" {
		if v.Prefix != "" {
			return errors.New("a prefix goes before a secret")
		}
		return nil
	}
	if v.Text != "" {
		return errors.New("give one of text and secret")
	}
	return v.Secret.Validate()
}

// Read returns the value, and the secret in it, if any.
func (v Value) Read() (value, secret string, err error) {
	if v.Secret == "" {
		return v.Text, "", nil
	}
	secret, err = v.Secret.Read()
	return v.Prefix + secret, secret, err
}

// minSecret is the shortest text that is treated as a secret: a shorter one would
// be found everywhere.
const minSecret = 4

// Redact replaces secrets in a text that is going to be reported: servers do
// quote what they were sent. A text that was cut may begin or end within one; such
// a part goes as well.
func Redact(text string, secrets ...string) string {
	const shown = "[secret]"
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		text = strings.ReplaceAll(text, s, shown)
		for n := min(len(s)-1, len(text)); n >= minSecret; n-- {
			if strings.HasSuffix(text, s[:n]) {
				text = text[:len(text)-n] + shown
				break
			}
		}
		for n := min(len(s)-1, len(text)); n >= minSecret; n-- {
			if strings.HasPrefix(text, s[len(s)-n:]) {
				text = shown + text[n:]
				break
			}
		}
	}
	return text
}
