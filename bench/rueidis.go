package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/sgkandale/sharelock/internal/workload"
)

// aboutRedis says where one Redis keeps a granted lock.
const aboutRedis = "one copy, in memory; a crash loses it, and the next may hold the lock, too"

// unlockScript deletes a key if it still has the value that its holder has set.
var unlockScript = rueidis.NewLuaScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// redisPipelined returns one Redis, called with the fewest bytes that a lock needs by a client that
// sends the commands of concurrent callers together.
func redisPipelined() system {
	return system{"Redis, rueidis", aboutRedis, func(ctx context.Context, b binaries, dir string) (*service, error) {
		s, _, err := startRedis(ctx, b, dir, 1)
		if err != nil {
			return nil, err
		}
		s.connect = func(context.Context, int) (func(int) (workload.Locker, error), func() error, error) {
			c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: s.addrs, DisableCache: true})
			if err != nil {
				return nil, nil, err
			}
			return same(setNX(c)), func() error { c.Close(); return nil }, nil
		}
		return s, nil
	}}
}

// setNX locks with SET NX PX, and unlocks with unlockScript.
func setNX(c rueidis.Client) lockFunc {
	var last atomic.Uint64
	process := rand.Uint64()
	return func(ctx context.Context, key string) (func(context.Context) error, error) {
		ctx, cancel := context.WithTimeout(ctx, lockWait)
		defer cancel()
		value := fmt.Sprintf("%x-%x", process, last.Add(1))
		for {
			err := c.Do(ctx, c.B().Set().Key(key).Value(value).Nx().PxMilliseconds(lockTTL.Milliseconds()).Build()).Error()
			switch {
			case err == nil:
				return func(ctx context.Context) error {
					n, err := unlockScript.Exec(ctx, c, []string{key}, []string{value}).AsInt64()
					if err == nil && n != 1 {
						err = errors.New("not unlocked")
					}
					return err
				}, nil
			case !rueidis.IsRedisNil(err):
				return nil, err
			}
			select {
			case <-time.After(pollPause):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// redisTracked returns one Redis, used through the library rueidislock: it extends locks, and Redis
// tells it when a key that it waits for is deleted.
func redisTracked() system {
	return system{"Redis, rueidislock", aboutRedis, func(ctx context.Context, b binaries, dir string) (*service, error) {
		s, _, err := startRedis(ctx, b, dir, 1)
		if err != nil {
			return nil, err
		}
		s.connect = func(context.Context, int) (func(int) (workload.Locker, error), func() error, error) {
			l, err := rueidislock.NewLocker(rueidislock.LockerOption{
				ClientOption: rueidis.ClientOption{InitAddress: s.addrs},
				KeyMajority:  1, KeyValidity: lockTTL, NoLoopTracking: true,
			})
			if err != nil {
				return nil, nil, err
			}
			return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
				// The context is that of the lock, too, so it cannot be the one that bounds the wait.
				_, unlock, err := l.WithContext(ctx, key)
				if err != nil {
					return nil, err
				}
				return func(context.Context) error { unlock(); return nil }, nil
			})), func() error { l.Close(); return nil }, nil
		}
		return s, nil
	}}
}
