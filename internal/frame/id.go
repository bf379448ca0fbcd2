package frame

import (
	"fmt"
	"io"
)

// ReadID reads an id with one byte of length before it, and not a byte more. The id must have 1 to
// most bytes; otherwise the error wraps malformed and names what. It is for the first bytes of a
// stream, before its frames.
func ReadID(r io.Reader, what string, most int, malformed error) ([]byte, error) {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	if n := int(size[0]); n == 0 || n > most {
		return nil, fmt.Errorf("%w: a %s id of %d bytes", malformed, what, n)
	}
	id := make([]byte, size[0])
	_, err := io.ReadFull(r, id)
	return id, err
}
