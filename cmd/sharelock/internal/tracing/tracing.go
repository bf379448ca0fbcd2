package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sgkandale/sharelock/internal/seldom"
)

// tracingTime bounds how long a node waits at its end for a collector to take its last spans.
const tracingTime = 2 * time.Second

// Tracing sends the spans of the nodes of this process as the standard variables OTEL_* say. Spans wait
// in a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE), and those that do not fit are dropped, so a slow or
// absent collector delays nobody. A nil Tracing sends none.
type Tracing struct {
	version   string
	protocol  string
	providers []*sdktrace.TracerProvider
}

// New returns the Tracing that the variables ask for, or nil if they ask for none. version is the version of the program.
func New(environ []string, version string, log *slog.Logger) (*Tracing, error) {
	env := func(name string) string {
		value := ""
		for _, e := range environ {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				value = v
			}
		}
		return value
	}
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "none":
		return nil, nil
	case "otlp":
	case "":
		if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return nil, nil
		}
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not known: use otlp or none", exporter)
	}
	t := &Tracing{version: version, protocol: env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")}
	if t.protocol == "" {
		t.protocol = env("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch t.protocol {
	case "", "http/protobuf", "grpc":
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not known: use http/protobuf or grpc", t.protocol)
	}
	failures := new(seldom.Log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if failures.Allow("") {
			log.Warn("traces are not sent; locks are not affected", "error", err)
		}
	}))
	return t, nil
}

// Provider returns the provider for the spans of a node, or nil if there are no traces.
func (t *Tracing) Provider(node string) (trace.TracerProvider, error) {
	if t == nil {
		return nil, nil
	}
	ctx := context.Background() // connections are made later
	var exporter sdktrace.SpanExporter
	var err error
	if t.protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "sharelock"), attribute.String("service.version", t.version),
		attribute.String("service.instance.id", node),
	), resource.WithTelemetrySDK(), resource.WithFromEnv()) // the last source wins
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	t.providers = append(t.providers, p)
	return p, nil
}

// Close sends the waiting spans, if that does not take long. It returns no error, because lost spans do
// no harm.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracingTime)
	defer cancel()
	var ends sync.WaitGroup
	for _, p := range t.providers {
		ends.Go(func() { _ = p.Shutdown(ctx) })
	}
	ends.Wait()
}
