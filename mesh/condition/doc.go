// Package condition describes what is wrong with a node and its mesh, in one sentence for each
// thing that an operator should know: what is wrong, for how long, what it means and what to do.
// The log, /readyz, /v1/mesh and 'sharelock members' all show these sentences.
//
// [Of] derives [State]s from [Facts]; it is pure. A [Tracker] remembers since when each state has
// lasted, and logs its beginning, its end, and reminders in between at growing intervals.
//
// Every code has a page in docs/incidents, named like the code.
package condition
