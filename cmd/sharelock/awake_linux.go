package main

import (
	"io"
	"os"
)

// openLatency opens Linux's device for the latency of waking, which takes root or the
// leave of whoever owns it: a number in its native bytes is the most µs that waking may
// cost, as long as the file is open.
// See https://docs.kernel.org/power/pm_qos_interface.html.
func openLatency() (io.WriteCloser, error) {
	return os.OpenFile("/dev/cpu_dma_latency", os.O_WRONLY, 0)
}
