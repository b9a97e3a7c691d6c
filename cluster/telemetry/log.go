package telemetry

import (
	"io"
	"log/slog"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// The formats of [NewLogger].
const (
	FormatText = "text" // key=value lines for people
	FormatJSON = "json" // one object a line for programs
)

// NewLogger returns a logger that writes lines to w. format is FormatText or
// FormatJSON and level debug, info, warn or error; "" means text and info. Times
// are UTC. Values are quoted, so that no input can start a line of its own.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var lv slog.Level
	if level != "" {
		if err := lv.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
			return nil, entropy.Errorf(entropy.CodeInvalid, "there is no log level %q", level).WithHint("use debug, info, warn or error")
		}
	}
	opts := &slog.HandlerOptions{Level: lv, ReplaceAttr: utc}
	switch format {
	case FormatText, "":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, entropy.Errorf(entropy.CodeInvalid, "there is no log format %q", format).WithHint("use text or json")
}

func utc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}
