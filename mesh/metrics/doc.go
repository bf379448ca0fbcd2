// Package metrics shows what a node has counted to Prometheus.
//
// The parts of a node count for themselves, in plain fields and arrays, because an observation of a
// metrics library would cost more than the rest of some calls. A [Source] says where their numbers
// are. At each scrape the collector asks for them and makes metrics of them, so that between scrapes
// nothing is done for them at all.
//
// Every metric is described in the table of families.go. docs/metrics.md is made from that table,
// and a test compares it with what a node shows. No key, client id or request id is ever a label.
//
// The package knows no node. It is the only one that imports the Prometheus library.
package metrics
