// Package graphdb writes the order of steps into a graph database that speaks Bolt
// (Neo4j, Memgraph), by the official driver.
//
// A write replaces what the database holds of one kind of entities, in one
// transaction, and may be repeated: nodes and edges are merged by their identity, and
// what the graph no longer has is removed. The statements are constants and take
// everything as parameters, so no name can become part of one.
package graphdb
