package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/mesh"
)

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// Nodes show which auth file each member has.
func TestAuthHashOfMembers(t *testing.T) {
	same, other := authFile(t, "policies: {}"), authFile(t, "policies: {x: []}")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var nodes []*mesh.Node
	var log lockedBuffer
	for i, file := range []string{same, same, other} {
		cfg := mesh.DefaultConfig()
		cfg.Name, cfg.DataDir, cfg.Lease, cfg.Partitions = string(rune('a'+i)), "", time.Second, 8
		cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		cfg.Auth.File = file
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if cfg.Found = i == 0; i > 0 {
			cfg.Seeds = []string{nodes[0].Addrs().Gossip}
		}
		n, err := mesh.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Kill()
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitReady(ctx); err != nil {
			t.Fatalf("%v\n%s", err, log.b.String())
		}
		nodes = append(nodes, n)
	}
	want := map[string]string{"a": nodes[0].Status().AuthHash, "b": nodes[0].Status().AuthHash, "c": nodes[2].Status().AuthHash}
	if want["a"] == "" || want["a"] == want["c"] {
		t.Fatalf("the hashes are %v", want)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got := map[string]string{}
		for _, m := range nodes[1].Status().Members {
			got[m.Name] = m.AuthHash
		}
		if len(got) == 3 && got["a"] == want["a"] && got["b"] == want["b"] && got["c"] == want["c"] {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("got %v, want %v\n%s", got, want, strings.TrimSpace(log.b.String()))
		case <-tick.C:
		}
	}
}
