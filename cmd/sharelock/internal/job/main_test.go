package job

import (
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, ok := RunHidden(os.Args[1:]); ok {
		syscall.Exit(code) // os.Exit sleeps for a second under the race detector
	}
	goleak.VerifyTestMain(m)
}
