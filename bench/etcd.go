package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/sgkandale/sharelock/internal/workload"
)

// etcd returns an etcd cluster of a number of members, used through its concurrency.Mutex.
func etcd(members int) system {
	return system{
		fmt.Sprintf("etcd, %d members", members), "the disks of a majority of the members, synced before the answer; it outlives the crash of all",
		func(ctx context.Context, b binaries, dir string) (*service, error) {
			return startEtcd(ctx, b, dir, members)
		},
	}
}

func startEtcd(ctx context.Context, b binaries, dir string, members int) (*service, error) {
	addrs, err := freeAddrs(2 * members)
	if err != nil {
		return nil, err
	}
	s := &service{addrs: addrs[:members]}
	peers := addrs[members:]
	name := func(i int) string { return fmt.Sprintf("member%d", i) }
	var cluster []string
	for i, addr := range peers {
		cluster = append(cluster, name(i)+"=http://"+addr)
	}
	for i := range members {
		clients, peer := "http://"+s.addrs[i], "http://"+peers[i]
		p, err := startProcess(dir, name(i), share(members), b.etcd,
			"--name", name(i), "--data-dir", filepath.Join(dir, name(i)), "--log-level", "error",
			"--listen-client-urls", clients, "--advertise-client-urls", clients,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new")
		if err != nil {
			s.stop()
			return nil, err
		}
		s.procs = append(s.procs, p)
	}
	for _, addr := range s.addrs {
		err := ready(ctx, s.procs, func(ctx context.Context) error { return getOK(ctx, "http://"+addr+"/health") })
		if err != nil {
			s.stop()
			return nil, err
		}
	}
	s.connect = func(ctx context.Context, workers int) (func(int) (workload.Locker, error), func() error, error) {
		c, err := clientv3.New(clientv3.Config{
			Endpoints: s.addrs, Context: ctx,
			Logger: zap.NewNop(), // it would log every call that is cancelled at the end of a load
		})
		if err != nil {
			return nil, nil, err
		}
		// The holder of a mutex is the session, so every worker needs its own.
		sessions, err := etcdSessions(c, workers)
		if err != nil {
			_ = c.Close() // the other error has the reason
			return nil, nil, err
		}
		closing := func() error {
			var work sync.WaitGroup
			for _, session := range sessions {
				work.Go(func() { _ = session.Close() }) // otherwise it ends after its TTL
			}
			work.Wait()
			return c.Close()
		}
		return func(worker int) (workload.Locker, error) {
			return lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
				m := concurrency.NewMutex(sessions[worker], key)
				if err := m.Lock(ctx); err != nil {
					return nil, err
				}
				return m.Unlock, nil
			}), nil
		}, closing, nil
	}
	return s, nil
}

// etcdSessions opens sessions in parallel, because each is a write.
func etcdSessions(c *clientv3.Client, n int) ([]*concurrency.Session, error) {
	sessions := make([]*concurrency.Session, n)
	errs := make([]error, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			sessions[i], errs[i] = concurrency.NewSession(c, concurrency.WithTTL(int(lockTTL.Seconds())))
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return sessions, nil
}
