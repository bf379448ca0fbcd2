package job

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A stop that the runtime delivers after the SIGCONT that ended it does not stop the process again.
func TestSignalsMerged(t *testing.T) {
	for _, test := range []struct {
		sig  syscall.Signal
		come []os.Signal
		want syscall.Signal
	}{
		{unix.SIGTSTP, nil, unix.SIGTSTP},
		{unix.SIGCONT, []os.Signal{unix.SIGTSTP}, unix.SIGCONT},
		{unix.SIGCONT, []os.Signal{unix.SIGTSTP, unix.SIGTTIN}, unix.SIGCONT},
		{unix.SIGTSTP, []os.Signal{unix.SIGCONT}, unix.SIGCONT},
		{unix.SIGTTIN, []os.Signal{unix.SIGTSTP, unix.SIGCONT}, unix.SIGCONT},
		{unix.SIGTTIN, []os.Signal{unix.SIGTSTP}, unix.SIGTSTP},
		{unix.SIGTTOU, []os.Signal{unix.SIGTTIN}, unix.SIGTTOU},
	} {
		j := &job{jobControl: make(chan os.Signal, 8)}
		for _, sig := range test.come {
			j.jobControl <- sig
		}
		if got := j.merged(test.sig); got != test.want || len(j.jobControl) > 0 {
			t.Errorf("%v and %v: got %v, want %v; %d are left", test.sig, test.come, got, test.want, len(j.jobControl))
		}
	}
}
