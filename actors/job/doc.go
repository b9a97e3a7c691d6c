// Package job holds the actor of one job: it loads the job from the journal,
// decides, appends, applies and only then replies. While the job has a live
// lease the actor holds its timer and stays in memory; else it leaves.
package job
