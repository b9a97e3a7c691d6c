// Package executor is the Go SDK of executors: programs that carry out the
// commands of actions. It speaks the protocol of docs/PROTOCOL.md.
//
//	e := executor.New(executor.Config{Name: "ops-1", URL: "nats://control:4222",
//		User: "ops-1", Password: secret, Spool: "/var/lib/ops-1"})
//	e.Handle("restart_printer", func(ctx context.Context, t *executor.Task) (any, error) {
//		t.Progress(50, "the paper is out")
//		return map[string]int{"sheets": 3}, nil
//	})
//	err := e.Run(ctx)
//
// # Guarantees
//
//   - A handler is called only after the control plane has said that the attempt
//     is this executor's, and with a spool directory at most once per attempt,
//     over crashes too: what was begun is on disk before the handler is called.
//   - What a handler returned is on disk before it is reported, and stays there
//     until the control plane has answered; it is reported again after a restart.
//   - An attempt that was cut off by a crash is reported as failed, with the kind
//     "executor_lost", by the next process that opens the spool.
//   - An effect may happen more than once: a crash between the effect and the
//     spool makes the control plane issue another attempt. Handlers pass
//     [Task.ActionID] on as the effect's own idempotency key.
//
// Time is counted on this machine's monotonic clock, from milliseconds that the
// order carries; clocks of two machines are never compared.
package executor
