// Package tracing decides whether the spans of nodes are sent, and where: by the standard variables
// OTEL_*, over OTLP. No other part of the program uses an exporter.
package tracing
