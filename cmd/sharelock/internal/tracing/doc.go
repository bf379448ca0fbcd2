// Package tracing decides whether and where the spans of nodes are sent: by the standard variables
// OTEL_*, over OTLP. It is the only part of the program that knows an exporter.
package tracing
