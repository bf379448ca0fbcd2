// Package condition says how a node and its mesh are, in one sentence for each thing that an
// operator should know: what is wrong, for how long, what it means and what to do. The log,
// /readyz, /v1/mesh and 'sharelock members' all show these sentences.
//
// [Of] makes [State]s of [Facts]; it is pure. A [Tracker] remembers since when each state lasts,
// logs the first and the last of it, and reminders in between that become fewer.
//
// Every code has a page of its name in docs/incidents.
package condition
