package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/examples/kill-a-worker/witness"
	"github.com/entropy-fabric/entropy/fabric"
)

// demo is one demonstration.
type demo struct {
	config
	dir      string
	lab      *lab
	control  *machine
	victim   *machine
	others   []*machine
	link     *link // between the victim and the control plane
	client   *entropy.Client
	progress *progress
	witness  witness.Witness

	victimSpool string // file
}

// slots is how many jobs each worker runs at once.
const slots = "6"

// play is the demonstration, act by act.
func (d *demo) play(ctx context.Context) error {
	dirs, err := packages(ctx, d.jobs)
	if err != nil {
		return err
	}
	d.progress = newProgress(os.Stdout, len(dirs))
	if err := d.raise(ctx); err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go d.progress.watch(watching, d.client)

	d.progress.say("a control plane and %d workers run; submitting %d jobs, one for each package of the standard library", 1+len(d.others), len(dirs))
	ids, err := submit(ctx, d.client, dirs)
	if err != nil {
		return err
	}
	d.witness.Jobs, d.witness.Victim = ids, d.victim.name
	if err := d.wreck(ctx); err != nil {
		return err
	}
	if err := d.progress.until(ctx, len(ids)); err != nil {
		return fmt.Errorf("%w\n%s", err, d.control.tail())
	}
	took := time.Since(d.progress.begun)
	d.progress.say("all jobs have ended; checking every artifact")
	total, err := checkJobs(ctx, d.client, ids, dirs)
	stopWatching()
	<-d.progress.stopped
	d.progress.clearLine()
	if err != nil {
		return err
	}
	if err := d.shutDown(ctx); err != nil {
		return err
	}
	return d.conclude(ctx, total, took)
}

// raise starts the control plane and the workers. The victim's way to the
// control plane leads over a link that can be cut.
func (d *demo) raise(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	d.control = d.lab.add(d.entropy, "control", func(dir string) []string {
		return []string{"control", "--data", dir, "--listen", address}
	})
	if err := d.control.start(); err != nil {
		return err
	}
	if err := d.dial(ctx, "http://"+address); err != nil {
		return err
	}
	if d.link, err = newLink(address); err != nil {
		return err
	}
	token, err := d.carryToken()
	if err != nil {
		return err
	}
	for _, name := range []string{"lab-1", "lab-2", "lab-3"} {
		server := "http://" + address
		if name == "lab-2" {
			server = d.link.url()
		}
		m := d.lab.add(d.entropy, name, func(dir string) []string {
			return []string{"worker", "--data", dir, "--name", name, "--slots", slots, "--server", server, "--token-file", token}
		})
		if err := m.start(); err != nil {
			return err
		}
		if name == "lab-2" {
			d.victim, d.victimSpool = m, spoolOf(m)
		} else {
			d.others = append(d.others, m)
		}
	}
	return d.ready(ctx, func() error {
		workers, err := d.client.Workers(ctx)
		if err == nil && len(workers) < 3 {
			err = fmt.Errorf("%d of 3 workers have registered", len(workers))
		}
		return err
	})
}

// carryToken copies the join token from the control plane's machine, as a person
// would carry it to the others.
func (d *demo) carryToken() (string, error) {
	b, err := os.ReadFile(filepath.Join(d.control.dir, fabric.WorkerTokenFile))
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, "join.token")
	return file, os.WriteFile(file, b, 0o600)
}

// freeAddress returns an address of the loopback that nothing listens on. The
// control plane must come back on the same one.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// dial waits for the control plane's first credential and for its first answer.
func (d *demo) dial(ctx context.Context, url string) error {
	return d.ready(ctx, func() error {
		token, err := os.ReadFile(filepath.Join(d.control.dir, fabric.AdminTokenFile))
		if err != nil {
			return err
		}
		d.client, err = entropy.NewClient(entropy.ClientConfig{Server: url, Token: strings.TrimSpace(string(token))})
		if err != nil {
			return err
		}
		_, err = d.client.Status(ctx)
		return err
	})
}

// ready repeats check until it succeeds, for as long as every node runs.
func (d *demo) ready(ctx context.Context, check func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := check()
		if err == nil {
			return nil
		}
		for _, m := range d.lab.machines {
			if !m.running() {
				return fmt.Errorf("%s has ended: %w\n%s", m.name, m.err, m.tail())
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the lab is not ready after 30 s: %w\n%s", err, d.control.tail())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// wreck kills a worker, then the control plane, and starts both again.
func (d *demo) wreck(ctx context.Context) error {
	if err := d.progress.until(ctx, d.progress.total/32); err != nil {
		return fmt.Errorf("%w\n%s", err, d.control.tail())
	}
	if err := d.strike(ctx); err != nil {
		return err
	}
	if err := d.progress.until(ctx, d.progress.succeeded()+d.progress.total/32); err != nil {
		return err
	}
	if err := d.killControl(ctx); err != nil {
		return err
	}
	if err := d.control.start(); err != nil {
		return err
	}
	d.progress.say("the control plane is started again; in the spools of the others wait %d finished result(s)", len(d.witness.Waiting))
	d.link.mend()
	if err := d.victim.start(); err != nil {
		return err
	}
	d.progress.say("worker %s is started again, on the disk it left behind", d.victim.name)
	return nil
}

// shutDown stops every node in order: workers first, so that they can say goodbye.
func (d *demo) shutDown(ctx context.Context) error {
	var errs []error
	for _, m := range slices.Concat(d.others, []*machine{d.victim, d.control}) {
		errs = append(errs, d.lab.stop(ctx, m))
	}
	return errors.Join(errs...)
}

// conclude prints the table and has it proved by another program.
func (d *demo) conclude(ctx context.Context, total tally, took time.Duration) error {
	replayed := 0
	for _, s := range slices.Concat(d.witness.Spooled, d.witness.Waiting) {
		if !total.won[s.AssignmentID] {
			return fmt.Errorf("job %s: its result waited in a spool and was not what counted in the end", s.JobID)
		}
		replayed++
	}
	d.witness.Table = witness.Table{Succeeded: len(d.witness.Jobs), Lost: total.lost, Retried: total.retried, Replayed: replayed, Artifacts: total.artifacts}
	file := filepath.Join(d.dir, "witness.json")
	if err := d.witness.Write(file); err != nil {
		return err
	}
	t := d.witness.Table
	fmt.Printf(`
  jobs submitted                             %6d
  jobs that succeeded, each exactly once     %6d
  attempts lost with the killed worker       %6d
  jobs run again for it                      %6d
  finished results replayed from a spool     %6d
  artifacts verified by SHA-256              %6d   (%.1f MB)
  time                                       %6.1f s

`, len(d.witness.Jobs), t.Succeeded, t.Lost, t.Retried, t.Replayed, t.Artifacts, float64(total.bytes)/1e6, took.Seconds())
	prove := exec.CommandContext(ctx, d.prove, filepath.Join(d.control.dir, fabric.JournalFile), file)
	prove.Stdout, prove.Stderr = os.Stdout, os.Stderr
	if err := prove.Run(); err != nil {
		return fmt.Errorf("the journal does not prove the table: %w", err)
	}
	return nil
}
