package host

import (
	"io"
	"os"
)

// OpenLatency opens Linux's device for the wake-up latency. This needs root or a permission
// from root. A number in native byte order that is written to the device is the maximum latency
// in µs, as long as the file is open.
// See https://docs.kernel.org/power/pm_qos_interface.html.
func OpenLatency() (io.WriteCloser, error) {
	return os.OpenFile("/dev/cpu_dma_latency", os.O_WRONLY, 0)
}
