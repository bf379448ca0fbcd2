//go:build !linux

package main

import (
	"errors"
	"io"
)

func openLatency() (io.WriteCloser, error) { return nil, errors.ErrUnsupported }
