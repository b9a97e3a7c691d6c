package executor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/entropy-fabric/entropy"
)

// Config says who the executor is and where its orders come from. Name and one of
// URL and Conn are required.
type Config struct {
	// Name is the executor's own, as its credential has it: it is the last token of
	// the subjects that it reports on. Two processes never share one.
	Name string

	// URL of the NATS servers, with commas between them, as in nats://control:4222.
	URL string
	// User and Password of the credential; or Seed, that of an nkey, which begins with SU.
	User, Password, Seed string
	// TLS for servers that want it. Nil: only if the URL begins with tls://.
	TLS *tls.Config

	// Conn is used instead of URL, and not closed: the control plane's own executors
	// have an in-process one. Reconnecting is then its owner's affair.
	Conn *nats.Conn

	// Spool is the directory in which results wait for the control plane's answer. It
	// is made if it is missing, and belongs to one process at a time. Empty: results
	// are kept in memory, and a crash loses them.
	Spool string

	Slots int           // handlers at once; 0 means 4
	Grace time.Duration // at the end of Run: for handlers to return, and then for results to be answered; 0 means 10 s

	Resend    time.Duration // after which an unanswered report is sent again, doubling; 0 means 1 s
	ResendMax time.Duration // at most; 0 means 30 s

	Logger *slog.Logger // nil means none
}

func (c Config) withDefaults() Config {
	if c.Slots == 0 {
		c.Slots = 4
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Resend == 0 {
		c.Resend = time.Second
	}
	if c.ResendMax == 0 {
		c.ResendMax = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate lists every problem.
func (c Config) validate() error {
	var errs []error
	if err := entropy.ValidateCommand(c.Name); err != nil {
		errs = append(errs, fmt.Errorf("executor name %q: 1 to 64 letters, digits, '_' and '-'", c.Name))
	}
	if (c.URL == "") == (c.Conn == nil) {
		errs = append(errs, errors.New("give one of URL and Conn"))
	}
	if c.Seed != "" && c.User != "" {
		errs = append(errs, errors.New("give one of User and Seed"))
	}
	if c.Slots < 0 || c.Grace < 0 || c.Resend < 0 || c.ResendMax < 0 {
		errs = append(errs, errors.New("slots and durations are not negative"))
	}
	return errors.Join(errs...)
}
