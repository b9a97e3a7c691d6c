// Package sequence learns in which order the steps of a case follow each
// other, how often each occurs in a case, and says how surprising an event or
// a whole case is, in bits. It also finds where in a stream of cases the order
// itself changed.
package sequence
