// Package fabric wires the parts together: it is the one package beside cmd and
// examples that may import all of them. Programs that embed a control plane or a
// worker use it, and so do the command line and the tests that need the real
// thing.
package fabric
