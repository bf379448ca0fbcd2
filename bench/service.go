package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sgkandale/sharelock/internal/workload"
)

const (
	// lockTTL is the TTL of all locks, and lockWait how long a worker waits for a lock.
	lockTTL  = 10 * time.Second
	lockWait = time.Minute
	// pollPause is the pause of clients that poll for a held lock, as those of Redis do. A
	// shorter pause gives more pairs and causes more load.
	pollPause = time.Millisecond
)

// system is a lock service that can be measured.
type system struct {
	// name is its name in the tables. about says where it stores a granted lock.
	name, about string
	// start starts its processes in an empty directory and waits until they serve.
	start func(ctx context.Context, b binaries, dir string) (*service, error)
}

// binaries are the paths of the servers' binaries.
type binaries struct{ sharelock, redis, etcd, self string }

// service is a running system.
type service struct {
	procs []*process
	// addrs are its addresses for clients.
	addrs []string
	// http is the HTTP address of the first node, if it serves HTTP.
	http string
	// awake, if not nil, keeps the processors awake until it is closed.
	awake *os.File
	// connect makes a client. locker returns what each worker uses, and close ends the client.
	connect func(ctx context.Context, workers int) (locker func(worker int) (workload.Locker, error), close func() error, err error)
}

func (s *service) stop() {
	for _, p := range s.procs {
		p.stop()
	}
	if s.awake != nil {
		_ = s.awake.Close()
	}
}

// measure runs a load.
func (s *service) measure(ctx context.Context, o workload.Options) (res *workload.Result, err error) {
	locker, closing, err := s.connect(ctx, o.Workers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	lockers := make([]workload.Locker, o.Workers)
	for i := range lockers {
		if lockers[i], err = locker(i); err != nil {
			return nil, fmt.Errorf("worker %d: %w", i, err)
		}
	}
	return workload.Run(ctx, func(worker int) workload.Locker { return lockers[worker] }, o)
}

// rss returns the memory of all processes.
func (s *service) rss() (int64, error) {
	var sum int64
	for _, p := range s.procs {
		n, err := p.rss()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// cpu returns the processor time of all processes.
func (s *service) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range s.procs {
		n, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// lockFunc is a function that implements workload.Locker.
type lockFunc func(ctx context.Context, key string) (release func(context.Context) error, err error)

// Acquire implements workload.Locker.
func (f lockFunc) Acquire(ctx context.Context, key string) (workload.Held, error) {
	release, err := f(ctx, key)
	if err != nil {
		return nil, err
	}
	return releaseFunc(release), nil
}

type releaseFunc func(ctx context.Context) error

// Release implements workload.Held.
func (f releaseFunc) Release(ctx context.Context) error { return f(ctx) }

// same returns a function that returns the same locker for every worker.
func same(l workload.Locker) func(int) (workload.Locker, error) {
	return func(int) (workload.Locker, error) { return l, nil }
}
