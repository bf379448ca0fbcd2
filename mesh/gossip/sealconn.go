package gossip

// sealing makes a stream of a process that migrates encrypt what it writes. The zero value does
// nothing.
type sealing struct {
	by *sealer
	// out: this process has opened the stream, and encrypts on it. A stream that the other side
	// has opened is answered as that side has spoken.
	out, sealed bool
	// labelled: the label was written.
	labelled bool
	// head is what was read of the stream so far, at most up to the type of its first message.
	head []byte
}

// opened is a stream that this process opens to an address.
func (s *sealer) opened(addr string) sealing {
	if s == nil {
		return sealing{}
	}
	return sealing{by: s, out: true, sealed: s.reads(addr)}
}

// accepted is a stream that another process has opened.
func (s *sealer) accepted() sealing { return sealing{by: s} }

// observe is told what was read.
func (c *sealing) observe(b []byte) {
	if c.by == nil || c.out {
		return
	}
	at := len(c.by.header)
	if missing := at + 1 - len(c.head); missing > 0 {
		c.head = append(c.head, b[:min(missing, len(b))]...)
		c.sealed = len(c.head) > at && c.head[at] == streamSealed && c.by.labelled(c.head)
	}
}

// convert returns what is to be written instead of b: memberlist writes the label of a stream that
// it opens at once, and each message at once.
func (c *sealing) convert(b []byte) []byte {
	switch {
	case !c.sealed:
		return b
	case c.out && !c.labelled:
		c.labelled = true
		return b
	}
	return c.by.stream(b)
}
