package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/metrics"
)

// histogram is a histogram with both kinds of buckets. Only the protobuf format carries the native
// ones; the text formats show the classic ones. The library has constant histograms of either kind,
// but not of both.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	data   *dto.Histogram
}

func newHistogram(desc *prometheus.Desc, h *metrics.Histogram, labels []string) prometheus.Metric {
	return &histogram{desc: desc, labels: prometheus.MakeLabelPairs(desc, labels), data: encode(h)}
}

// Desc implements prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric.
func (h *histogram) Write(m *dto.Metric) error {
	m.Label, m.Histogram = h.labels, h.data
	return nil
}

func encode(h *metrics.Histogram) *dto.Histogram {
	d := &dto.Histogram{
		SampleCount: new(h.Count()), SampleSum: new(h.Sum()),
		Schema: proto.Int32(metrics.Schema), ZeroThreshold: proto.Float64(metrics.ZeroThreshold),
	}
	for i, n := range h.Classic() {
		d.Bucket = append(d.Bucket, &dto.Bucket{UpperBound: new(metrics.Bounds[i]), CumulativeCount: new(n)})
	}
	var next int32 // the index after the last bucket
	var last int64 // the count of the last bucket
	zero := h.Native(func(i int, n uint64) {
		index := int32(i) //nolint:gosec // there are fewer than 2^10 buckets on either side of 0
		switch gap := index - next; {
		case len(d.PositiveSpan) == 0 || gap > 0:
			d.PositiveSpan = append(d.PositiveSpan, &dto.BucketSpan{Offset: new(gap), Length: proto.Uint32(1)})
		default:
			span := d.PositiveSpan[len(d.PositiveSpan)-1]
			span.Length = new(span.GetLength() + 1)
		}
		d.PositiveDelta = append(d.PositiveDelta, intconv.Signed(n)-last)
		next, last = index+1, intconv.Signed(n)
	})
	d.ZeroCount = new(zero)
	if len(d.PositiveSpan) == 0 {
		// An empty span says that this is a native histogram, though it has no bucket yet.
		d.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	return d
}
