// Package container speaks to a container runtime: podman, docker or nerdctl.
//
// A runtime is a command-line program. The package finds one that works
// ([Find]), writes the command line that runs a job's image ([Runtime.Run]),
// asks how a container ended, and removes containers ([Client]). It starts no
// process itself: whoever uses it brings an [Exec], because the supervisor must
// start and reap its children in its own way.
//
// # How a container is tied to its assignment
//
// It has the assignment's name and carries labels: the assignment, the spool of
// the worker, and the supervisor process that began it. What a dead supervisor
// left is found by them, through a restart of the worker, of the runtime and of
// the machine. Containers are begun without --rm: only so can be asked, of one
// that is no more, whether it ever ran and with which code it ended. They are
// removed by force afterwards, and only a removal that the runtime confirmed
// means that nothing of it runs.
//
// # What a container sees
//
// Its directories lie below /entropy, and ENTROPY_INPUT_DIR and its sisters
// point there. It has the machine's network unless the worker's operator chose
// otherwise, and the rights of the worker's user on the files it is given.
// Values of its variables are not on any command line, where other users of the
// machine could read them.
package container
