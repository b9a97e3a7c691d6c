package main

import (
	"slices"

	"github.com/spf13/cobra"
)

// globalFlags are the flags that every command has.
type globalFlags struct {
	server    string
	tokenFile string
	caFile    string
	output    string
}

// The values of --output.
const (
	outputText  = "text"
	outputJSON  = "json"
	outputLines = "jsonl"
)

var outputs = []string{outputText, outputJSON, outputLines}

func (g *globalFlags) validate() error {
	if !slices.Contains(outputs, g.output) {
		return usagef("--output is %q", g.output).WithHint("it is text, json or jsonl")
	}
	return nil
}

const rootLong = `Entropy runs jobs on machines that cannot be trusted: hosts that lose power,
sleep, or drop off the network. One control plane keeps every job in a journal
on disk; workers run the jobs and keep their results until they are accepted.

Start here:
  entropy up                          a control plane and a worker on this machine
  entropy submit --wait -- echo hi    run a command (in another terminal)

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 not allowed, 5 conflict,
6 unreachable or outcome unknown, 7 job failed, 8 timed out.

Environment: ENTROPY_SERVER, ENTROPY_TOKEN or ENTROPY_TOKEN_FILE, ENTROPY_CA_FILE.
On the control plane's own host none of them is needed.`

// root assembles the program: one line per command.
func (a *app) root() *cobra.Command {
	root := a.group(&cobra.Command{
		Use:           "entropy",
		Short:         "Run jobs on machines that cannot be trusted",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.global.server, "server", "", "`URL` of the control plane (ENTROPY_SERVER)")
	flags.StringVar(&a.global.tokenFile, "token-file", "", "`FILE` that holds the token (ENTROPY_TOKEN_FILE)")
	flags.StringVar(&a.global.caFile, "ca-file", "", "`FILE` with the CA certificates to trust, PEM (ENTROPY_CA_FILE)")
	flags.StringVarP(&a.global.output, "output", "o", outputText, "`FORMAT` of the output: text, json or jsonl")

	root.AddGroup(
		&cobra.Group{ID: "jobs", Title: "Jobs:"},
		&cobra.Group{ID: "look", Title: "Looking around:"},
		&cobra.Group{ID: "roles", Title: "Running the fabric:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("jobs", a.submitCommand(), a.waitCommand(), a.jobsCommand(), a.jobCommand(), a.logsCommand(),
		a.cancelCommand(), a.retryCommand(), a.cloneCommand(), a.holdCommand(), a.releaseCommand(), a.prioritizeCommand(), a.artifactsCommand(), a.scheduleCommand(), a.importCommand(), a.actionsCommand(), a.dlqCommand(), a.suggestionsCommand())
	add("look", a.explainCommand(), a.workersCommand(), a.membersCommand(), a.netCommand(), a.eventsCommand(), a.ledgerCommand(), a.surpriseCommand(), a.rulesCommand(), a.statusCommand(), a.doctorCommand(), a.scoreCommand(), a.graphCommand(), a.dueCommand(), a.generateCommand(), a.versionCommand())
	add("roles", a.upCommand(), a.controlCommand(), a.workerCommand(), a.queueCommand(), a.tenantCommand(), a.policyCommand(), a.tokenCommand(), a.caCommand(), a.verifyCommand())
	root.AddCommand(a.supervisorCommand(), a.docsCommand())
	return root
}
