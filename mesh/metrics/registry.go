package metrics

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Handler returns a handler that answers with all metrics of a node, and those of the Go runtime and
// of the process: as text, as OpenMetrics, or as protobuf with native histograms, as the request
// wants it. Errors go to log.
func Handler(s Source, log *slog.Logger) (http.Handler, error) {
	r, err := registry(s)
	if err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, CoalesceGather: true,
	}), nil
}

// WriteText writes all metrics of a node as text.
func WriteText(w io.Writer, s Source) error {
	r, err := registry(s)
	if err != nil {
		return err
	}
	families, err := r.Gather()
	for _, f := range families {
		if _, werr := expfmt.MetricFamilyToText(w, f); werr != nil {
			return werr
		}
	}
	return err
}

// maxScrapes bounds the scrapes at one time. A scrape asks every shard.
const maxScrapes = 4

// registry returns a registry of its own, so that several nodes may live in one process.
func registry(s Source) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		newCollector(s),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}
