// Package supervisor is the long-lived process of a worker node that owns the
// jobs' processes, the spool and the deadlines, and outlives the agent.
//
// The agent talks to the control plane and may crash, be killed or be upgraded
// at any time; it starts a supervisor when there is none, and finds the one
// that runs through a Unix socket in the state directory. Nothing that belongs
// to a running job lives in the agent.
//
// # Guarantees
//
//   - The end of an assignment is reported only when its whole process tree is
//     gone, and only after it is in the spool.
//   - An assignment is begun at most once, however often it is asked for.
//   - A job with the contract "stop" is killed before trust in its lease ends,
//     agent or no agent, and also when the machine was suspended in between.
//   - If the process had ended before TERM was sent, its own outcome counts.
//   - A supervisor that follows one that was killed ends what that one left
//     behind and reports it as a worker error.
//
// # How a process tree is held
//
// Each assignment has its own process group and, where cgroup v2 can be
// written, its own control group, which cgroup.kill ends as a whole. Elsewhere
// the supervisor is the subreaper of all its jobs: a process that left its
// group with setsid becomes the supervisor's child when its parent dies, and is
// recognized by the assignment in its environment.
package supervisor
