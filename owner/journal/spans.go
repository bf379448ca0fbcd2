package journal

// A Span says from where to where a member has recorded the log of a partition in an epoch.
type Span struct {
	Epoch uint32
	// Base is where the log of the epoch begins. Lost is set if the state before was lost.
	Base uint64
	Lost bool
	// From is the epoch of the copy with which the epoch began, see [Base.From].
	From uint32
	// Everything after Low up to High is recorded. If the span is open, it is everything until now.
	Low, High uint64
	Open      bool
	// LowAt is when it begins, in microseconds since 1970. Nothing after that is missing at the beginning.
	LowAt int64

	// first and last are the segments in which it begins and ends.
	first, last uint64
}

// MaxSpans is how many spans of a partition are known. Older ones are forgotten, so that nothing before
// is complete.
const MaxSpans = 128

// spans are those of one partition, the oldest first. Only the last may be open.
type spans struct{ list []Span }

// open returns the span that is open, or nil.
func (s *spans) open() *Span {
	if n := len(s.list); n > 0 && s.list[n-1].Open {
		return &s.list[n-1]
	}
	return nil
}

// shut ends the span that is open.
func (s *spans) shut() {
	if o := s.open(); o != nil {
		o.Open = false
	}
}

// note takes a record of the partition that was written to a segment.
func (s *spans) note(r *record, segment uint64) {
	o := s.open()
	switch r.kind {
	case applied, stopped:
		if o != nil && o.Epoch == r.epoch {
			o.High = max(o.High, r.seq)
		}
	}
	if o != nil {
		o.last = segment
	}
	switch r.kind {
	case torn:
		s.shut()
	case stopped:
		s.shut()
	case follows, resumes:
		s.shut()
		s.begin(r, segment)
	case stands:
		if o == nil || o.Epoch != r.epoch {
			s.shut()
			s.begin(r, segment)
		}
	}
}

func (s *spans) begin(r *record, segment uint64) {
	if len(s.list) >= MaxSpans {
		s.list = append(s.list[:0], s.list[MaxSpans/4:]...)
	}
	s.list = append(s.list, Span{
		Epoch: r.epoch, Base: r.base, From: r.from, Lost: r.lost, Low: r.seq, High: r.seq, Open: true, LowAt: r.at, first: segment, last: segment,
	})
}

// cut takes notice that all segments before one were removed. stood is where the copy stood when
// that segment began, or nil if that is not known.
func (s *spans) cut(oldest uint64, began int64, stood *record) {
	kept := s.list[:0]
	for _, sp := range s.list {
		if !sp.Open && sp.last < oldest {
			continue
		}
		if sp.first < oldest {
			if stood == nil || stood.epoch != sp.Epoch {
				continue
			}
			sp.Low, sp.LowAt, sp.first = max(sp.Low, stood.seq), max(sp.LowAt, began), oldest
		}
		kept = append(kept, sp)
	}
	s.list = kept
}
