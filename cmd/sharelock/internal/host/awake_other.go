//go:build !linux

package host

import (
	"errors"
	"io"
)

func OpenLatency() (io.WriteCloser, error) { return nil, errors.ErrUnsupported }
