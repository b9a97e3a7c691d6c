// Package baseline holds what is normal for one series: how long things take,
// by hour of the week; how long until the next; and how its last windows
// looked. What is young is shrunk to its parents, what is old is forgotten at
// a half-life, and what is robust is a median.
package baseline
