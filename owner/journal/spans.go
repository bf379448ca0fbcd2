package journal

// A Span is a part of a partition's log in one epoch that a member has recorded completely.
type Span struct {
	Epoch uint32
	// Base is the sequence number at which the log of the epoch begins. Lost is set if the state
	// before was lost.
	Base uint64
	Lost bool
	// From is the epoch of the copy with which the epoch began, see [Base.From].
	From uint32
	// Everything after Low up to High is recorded. If Open is set, everything after Low until now
	// is recorded.
	Low, High uint64
	Open      bool
	// LowAt is when the span begins, in microseconds since 1970.
	LowAt int64

	// first and last are the segments in which the span begins and ends.
	first, last uint64
}

// MaxSpans is the maximum number of spans of a partition. Older ones are dropped, so that the time
// before them does not count as complete.
const MaxSpans = 128

// spans are the spans of one partition, the oldest first. Only the last may be open.
type spans struct{ list []Span }

// open returns the span that is open, or nil.
func (s *spans) open() *Span {
	if n := len(s.list); n > 0 && s.list[n-1].Open {
		return &s.list[n-1]
	}
	return nil
}

// shut closes the span that is open.
func (s *spans) shut() {
	if o := s.open(); o != nil {
		o.Open = false
	}
}

// note updates the spans after a record of the partition was written to a segment.
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

// cut updates the spans after all segments before oldest were removed. stood is the place of the
// copy when that segment began, or nil if it is not known.
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
