// Package jobfile reads job files: YAML, and so JSON, that describes one job or
// several that belong together. Keys are those of a job's specification; beside
// them there are jobs, defaults, array, each_line, replace, hold, id, and forms of
// inputs and after for people. Unknown and repeated keys are errors with their
// line, and no file, however built, makes the reader use much memory.
package jobfile
