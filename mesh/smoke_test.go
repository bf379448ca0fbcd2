package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

func smokeNodes(t *testing.T, count int) []*Node {
	var seeds []string
	for i := range count {
		seeds = append(seeds, fmt.Sprintf("127.0.0.1:%d", 19046+i))
	}
	var nodes []*Node
	for i := range count {
		cfg := DefaultConfig()
		cfg.Name = string(rune('a' + i))
		cfg.DataDir = t.TempDir()
		cfg.Seeds = seeds
		cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		cfg.GossipListen = seeds[i]
		lvl := slog.LevelInfo
		if os.Getenv("SMOKE_DEBUG") != "" {
			lvl = slog.LevelDebug
		}
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: lvl}))
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func TestSmoke(t *testing.T) {
	nodes := smokeNodes(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	start := time.Now()
	for _, n := range nodes {
		if err := n.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("ready after", time.Since(start))
	for len(nodes[0].Status().Members) < 3 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%+v after %v", nodes[0].Status(), time.Since(start))
	for i := range 6 {
		key := fmt.Sprint("k", i)
		begin := time.Now()
		h, err := nodes[i%3].Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "c1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(h, time.Since(begin))
		go func() {
			time.Sleep(100 * time.Millisecond)
			if _, err := nodes[(i+1)%3].Release(ctx, key, h.Token, false); err != nil {
				t.Error(err)
			}
		}()
		begin = time.Now()
		h2, err := nodes[(i+2)%3].Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "c2", Wait: sharelock.DefaultWait})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(h2.Token, h2.Node, time.Since(begin))
	}
	for _, n := range nodes {
		begin := time.Now()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
		t.Log("stopped in", time.Since(begin))
	}
}

func TestSmokeKill(t *testing.T) {
	nodes := smokeNodes(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, n := range nodes {
		if err := n.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for len(nodes[0].voters()) < 3 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	lead := -1
	for i, n := range nodes {
		if n.leading() != nil {
			lead = i
		}
	}
	t.Log("voters", nodes[0].voters(), "leader", lead)
	victim := nodes[lead]
	begin := time.Now()
	victim.Kill()
	t.Log("killed in", time.Since(begin))
	rest := append(append([]*Node{}, nodes[:lead]...), nodes[lead+1:]...)
	for time.Since(begin) < 5*time.Second {
		for _, n := range rest {
			if err := n.Ready(); err != nil {
				t.Error(time.Since(begin), n.cfg.Name, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%+v", rest[0].Status())
	cfg := victim.cfg
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	begin = time.Now()
	if err := n.WaitReady(ctx); err != nil {
		t.Error(err)
	}
	t.Log("back after", time.Since(begin))
	n.Kill()
	rest[0].Kill()
	rest[1].Kill()
}
