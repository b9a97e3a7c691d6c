package entropy

import (
	"encoding/json"
	"math"
	"time"
)

// Duration is a time.Duration that is written as text ("1m30s") in JSON, and
// read from text or from a number of seconds.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes d as a quoted duration.
func (d Duration) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Duration(d).String() + `"`), nil
}

// UnmarshalJSON reads a quoted duration, or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		var seconds float64
		if err := json.Unmarshal(b, &seconds); err != nil || math.Abs(seconds) > math.MaxInt64/float64(time.Second) {
			return Errorf(CodeInvalid, "%s is not a duration", b).WithHint(`write it as text, as in "90s" or "1h30m"`)
		}
		*d = Duration(seconds * float64(time.Second))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return Errorf(CodeInvalid, "%q is not a duration", s).WithHint(`write it as in "90s" or "1h30m"`)
	}
	*d = Duration(v)
	return nil
}
