package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/sgkandale/sharelock/internal/workload"
)

// redisLock returns one Redis, used through the library redislock.
func redisLock() system {
	return system{
		"Redis, redislock", aboutRedis,
		func(ctx context.Context, b binaries, dir string) (*service, error) {
			s, clients, err := startRedis(ctx, b, dir, 1)
			if err != nil {
				return nil, err
			}
			s.connect = func(context.Context, int) (func(int) (workload.Locker, error), func() error, error) {
				c := clients()[0]
				locks := redislock.New(c)
				opts := &redislock.Options{RetryStrategy: redislock.LinearBackoff(pollPause)}
				return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
					ctx, cancel := context.WithTimeout(ctx, lockWait)
					defer cancel()
					l, err := locks.Obtain(ctx, key, lockTTL, opts)
					if err != nil {
						return nil, err
					}
					return l.Release, nil
				})), c.Close, nil
			}
			return s, nil
		},
	}
}

// redlock returns the Redlock algorithm on a number of Redis servers, used through the library
// redsync.
func redlock(servers int) system {
	return system{
		fmt.Sprintf("Redlock, %d Redis", servers), "copies in the memory of a majority of independent servers; safe as long as no clock jumps, and if a server that has crashed stays away for a TTL",
		func(ctx context.Context, b binaries, dir string) (*service, error) {
			s, clients, err := startRedis(ctx, b, dir, servers)
			if err != nil {
				return nil, err
			}
			s.connect = func(context.Context, int) (func(int) (workload.Locker, error), func() error, error) {
				all := clients()
				var pools []redsyncredis.Pool
				for _, c := range all {
					pools = append(pools, goredis.NewPool(c))
				}
				rs := redsync.New(pools...)
				closing := func() error {
					var errs []error
					for _, c := range all {
						errs = append(errs, c.Close())
					}
					return errors.Join(errs...)
				}
				return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
					ctx, cancel := context.WithTimeout(ctx, lockWait)
					defer cancel()
					m := rs.NewMutex(key, redsync.WithExpiry(lockTTL), redsync.WithTries(math.MaxInt32), redsync.WithRetryDelay(pollPause))
					if err := m.LockContext(ctx); err != nil {
						return nil, err
					}
					return func(ctx context.Context) error {
						ok, err := m.UnlockContext(ctx)
						if err == nil && !ok {
							err = errors.New("not unlocked")
						}
						return err
					}, nil
				})), closing, nil
			}
			return s, nil
		},
	}
}

// startRedis starts servers that write nothing to disk. It also returns a function that makes a
// client of each.
func startRedis(ctx context.Context, b binaries, dir string, servers int) (*service, func() []*redis.Client, error) {
	addrs, err := freeAddrs(servers)
	if err != nil {
		return nil, nil, err
	}
	s := &service{addrs: addrs}
	for i, addr := range addrs {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, nil, err
		}
		p, err := startProcess(dir, fmt.Sprintf("redis%d", i), nil, b.redis,
			"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
		if err != nil {
			s.stop()
			return nil, nil, err
		}
		s.procs = append(s.procs, p)
	}
	clients := func() []*redis.Client {
		var all []*redis.Client
		for _, addr := range addrs {
			all = append(all, redis.NewClient(&redis.Options{Addr: addr}))
		}
		return all
	}
	for _, c := range clients() {
		err := errors.Join(ready(ctx, s.procs, func(ctx context.Context) error { return c.Ping(ctx).Err() }), c.Close())
		if err != nil {
			s.stop()
			return nil, nil, err
		}
	}
	return s, clients, nil
}
