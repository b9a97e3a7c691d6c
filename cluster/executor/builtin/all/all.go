// Package all gives every built-in executor that the settings name to an
// executor, from one document: the one of docs/EXECUTORS.md.
package all

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/controlm"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/httpcall"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/jobs"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/local"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/notify"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/s3"
)

// Config has the settings of each. Nil: its commands are not offered.
type Config struct {
	HTTP     *httpcall.Config `json:"http"`
	Notify   *notify.Config   `json:"notify"`
	S3       *s3.Config       `json:"s3"`
	ControlM *controlm.Config `json:"controlm"`
	Local    *local.Config    `json:"local"`

	// Jobs are the fabric's own commands. They need a service, so no document has them.
	Jobs *jobs.Config `json:"-"`
}

const maxDocument = 1 << 20 // bytes

// Read reads settings from JSON. What it does not know is an error: a setting that
// is misspelled would not protect anything.
func Read(r io.Reader) (Config, error) {
	var c Config
	d := json.NewDecoder(io.LimitReader(r, maxDocument))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("settings of executors: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("settings of executors: there is more than one document, or more than 1 MiB")
	}
	return c, nil
}

// Register gives the handlers of everything that c names to an executor. The error
// lists all that is wrong.
func (c Config) Register(to executor.Registry) error {
	var errs []error
	if c.Jobs != nil {
		errs = append(errs, jobs.Register(to, *c.Jobs))
	}
	if c.HTTP != nil {
		errs = append(errs, httpcall.Register(to, *c.HTTP))
	}
	if c.Notify != nil {
		errs = append(errs, notify.Register(to, *c.Notify))
	}
	if c.S3 != nil {
		errs = append(errs, s3.Register(to, *c.S3))
	}
	if c.ControlM != nil {
		errs = append(errs, controlm.Register(to, *c.ControlM))
	}
	if c.Local != nil {
		errs = append(errs, local.Register(to, *c.Local))
	}
	return errors.Join(errs...)
}
