// Command checkpoint runs a job that saves its state, kills it in the middle, and
// shows that the next attempt goes on where the first one was.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// count is the job: a shell script that knows nothing of this library.
//
//go:embed count.sh
var count string

func main() {
	// A worker holds its jobs in a process of its own: this program, started again.
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(fabric.SupervisorMain(os.Args[2:]))
	}
	dir, err := os.MkdirTemp("", "entropy-checkpoint-")
	if err == nil {
		err = run(context.Background(), os.Stdout, dir)
		os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, dir string) error {
	control, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	node, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{DataDir: filepath.Join(dir, "worker"), Control: control, Name: "here"})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { control.Run(ctx) })
	running.Go(func() { node.Run(ctx) })

	job, err := entropy.Spawn(ctx, control.Service(), entropy.JobSpec{
		Command:    []string{"sh", "-c", count},
		Checkpoint: &entropy.CheckpointPolicy{}, // the newest two are kept
		Retry:      entropy.RetryPolicy{Backoff: entropy.Duration(time.Millisecond)},
	})
	if err != nil {
		return err
	}
	if err := killFirst(out, job.Logs(ctx)); err != nil {
		return err
	}
	end, err := job.Wait(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, job.Log(ctx, entropy.LogQuery{Attempt: 2})); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the job %s after %d attempts\n", end.State, end.Attempt)
	return err
}

// killFirst follows the output of the first attempt, and kills its process when it
// says so.
func killFirst(out io.Writer, output io.ReadCloser) error {
	defer output.Close()
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var pid int
		if _, err := fmt.Sscanf(lines.Text(), "process %d may be killed", &pid); err != nil {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		fmt.Fprintln(out, "it is killed")
	}
	return lines.Err()
}
