package tracing

import (
	"log/slog"
	"strings"
	"testing"
)

// Tracing is on if the standard variables say so. A variable with an unknown value is an error.
func TestTracingIsOn(t *testing.T) {
	for _, c := range []struct {
		environ string
		on      bool
		err     string
	}{
		{"", false, ""},
		{"OTEL_SERVICE_NAME=x", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_SDK_DISABLED=true", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_TRACES_EXPORTER=none", false, ""},
		{"OTEL_TRACES_EXPORTER=zipkin", false, "OTEL_TRACES_EXPORTER"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=carrier-pigeon", false, "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		got, err := New(strings.Fields(c.environ), "v1", slog.New(slog.DiscardHandler))
		if (got != nil) != c.on || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("with %q: %v, %v", c.environ, got, err)
		}
		if p, err := got.Provider("a"); (p != nil) != c.on || err != nil {
			t.Errorf("with %q the provider is %v, %v", c.environ, p, err)
		}
		got.Close()
	}
}
