// Package graph is what is known of the order of a kind's steps as a graph:
// steps are nodes, transitions are edges. It is written as JSON, as Graphviz's
// DOT or as GraphML. It is pure: the same knowledge gives the same bytes.
package graph
