package feed

import (
	"strconv"
	"strings"
)

// A Cursor is a place in the log of a partition, in one epoch.
type Cursor struct {
	Epoch uint32
	Seq   uint64
}

// String returns "epoch.seq".
func (c Cursor) String() string {
	return strconv.FormatUint(uint64(c.Epoch), 10) + "." + strconv.FormatUint(c.Seq, 10)
}

// ParseCursor reads what String has written. It returns false for anything else.
func ParseCursor(s string) (Cursor, bool) {
	epoch, seq, _ := strings.Cut(s, ".")
	e, err := strconv.ParseUint(epoch, 10, 32)
	if err != nil {
		return Cursor{}, false
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return Cursor{}, false
	}
	return Cursor{Epoch: uint32(e), Seq: n}, true
}
