package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/workload"
)

// sharelock returns ShareLock on a number of nodes, each of them a process, with additional
// settings as environment variables.
func sharelock(nodes int, env ...string) system {
	name, about := "ShareLock, 1 node", "one copy, in memory; a crash loses it, and its keys grant nothing until it must have expired"
	if nodes > 1 {
		name, about = fmt.Sprintf("ShareLock, %d nodes", nodes), "the memory of two of the nodes, before the answer; it outlives the crash of one"
	}
	return system{name, about, func(ctx context.Context, b binaries, dir string) (*service, error) {
		return startSharelock(ctx, b, dir, nodes, env...)
	}}
}

// startSharelock starts nodes, with additional settings as environment variables.
func startSharelock(ctx context.Context, b binaries, dir string, nodes int, env ...string) (*service, error) {
	addrs, err := freeAddrs(4 * nodes)
	if err != nil {
		return nil, err
	}
	at := func(kind int) []string { return addrs[kind*nodes : (kind+1)*nodes] }
	s := &service{addrs: at(0), http: at(1)[0]}
	for i := range nodes {
		name := fmt.Sprintf("node%d", i)
		args := []string{
			"serve", "--node-name", name, "--data-dir", filepath.Join(dir, name), "--log-level", "warn",
			"--grpc-listen", at(0)[i], "--http-listen", at(1)[i], "--peer-listen", at(2)[i], "--gossip-listen", at(3)[i],
		}
		if nodes == 1 {
			args = append(args, "--found")
		} else {
			args = append(args, "--seeds", strings.Join(at(3), ","))
		}
		p, err := startProcess(dir, name, append(share(nodes), env...), b.sharelock, args...)
		if err != nil {
			s.stop()
			return nil, err
		}
		s.procs = append(s.procs, p)
	}
	for _, addr := range at(1) {
		err := ready(ctx, s.procs, func(ctx context.Context) error { return getOK(ctx, "http://"+addr+"/readyz") })
		if err != nil {
			s.stop()
			return nil, err
		}
	}
	s.connect = func(ctx context.Context, _ int) (func(int) (workload.Locker, error), func() error, error) {
		c, err := client.Dial(ctx, s.addrs, client.Options{})
		if err != nil {
			return nil, nil, err
		}
		return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
			l, err := c.Acquire(ctx, key, client.TTL(lockTTL), client.Wait(lockWait))
			if err != nil {
				return nil, err
			}
			return l.Release, nil
		})), c.Close, nil
	}
	return s, nil
}

func getOK(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
