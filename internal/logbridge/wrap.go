package logbridge

import (
	"io"
	"log"
	"log/slog"
)

// NewWrappedLog is [NewLog] behind a writer of the caller: wrap returns the writer that gets the
// lines as the library writes them, and passes on to next those that are to be logged.
func NewWrappedLog(l *slog.Logger, wrap func(next io.Writer) io.Writer) *log.Logger {
	return log.New(wrap(NewLog(l).Writer()), "", 0)
}
