// Package builtin has what the executors below it share: secrets by reference,
// and HTTP as an executor should do it.
//
//   - jobs: the fabric's own commands, restart_job and its like
//   - httpcall: one HTTP request to an allowlisted host
//   - notify: webhooks and Slack
//   - s3: put, copy and presence of objects
//   - controlm: run, hold, free and rerun of Control-M jobs
//   - local: allowlisted commands of this machine
//
// Each has a Config that may be read from JSON or YAML and a Register that checks
// it and gives the handlers to an executor. What a Config does not allow cannot
// be asked for. All know dry runs, all pass the action's ID on to what they call.
package builtin
