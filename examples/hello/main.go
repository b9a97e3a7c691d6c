// Command hello embeds the whole fabric in a program: a control plane and a
// worker, one job that is a command, and one that is a Go function.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker"
	"github.com/entropy-fabric/entropy/fabric"
)

func main() {
	// A worker holds its jobs in a process of its own, so that they outlive it:
	// it starts this program again with the argument "supervisor".
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(fabric.SupervisorMain(os.Args[2:]))
	}
	dir, err := os.MkdirTemp("", "entropy-hello-")
	if err == nil {
		err = hello(context.Background(), os.Stdout, dir)
		os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func hello(ctx context.Context, out io.Writer, dir string) error {
	control, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	node, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{DataDir: filepath.Join(dir, "worker"), Control: control,
		Name: "here", Handlers: map[string]worker.Handler{"double": double}})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { control.Run(ctx) })
	running.Go(func() { node.Run(ctx) })

	// A job that is a command. Its output is read while it runs.
	greeting, err := entropy.Spawn(ctx, control.Service(), entropy.JobSpec{Command: []string{"echo", "hello, fabric"}})
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, greeting.Logs(ctx)); err != nil {
		return err
	}
	// A job that is a Go function at the worker.
	twice, err := entropy.Spawn(ctx, control.Service(), entropy.JobSpec{Handler: "double", Payload: []byte("21")})
	if err != nil {
		return err
	}
	job, err := twice.Wait(ctx)
	if err == nil {
		fmt.Fprintf(out, "double(21) %s with %s\n", job.State, job.Result)
	}
	return err
}

// double is a handler: the work of a job, in Go.
func double(_ context.Context, run *worker.Run) (n any, err error) {
	var x int
	err = json.Unmarshal(run.Payload, &x)
	return 2 * x, err
}
