package api

import (
	"log/slog"
	"time"
)

// Options are the settings of both servers. The zero value works.
type Options struct {
	// Logger gets panics and internal errors; nil drops them.
	Logger *slog.Logger
	// Reflection serves gRPC server reflection.
	Reflection bool
	// MaxWait is the node's longest wait. The original's timeoutMs is cut to it,
	// since its clients know of no limit; 0 hands it on as it is.
	MaxWait time.Duration
	// WrongPort is what a client of gRPC is told at the HTTP port, a *[sharelock.Error]; nil
	// leaves it to net/http.
	WrongPort error
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
