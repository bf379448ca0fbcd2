package mesh

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The data directory keeps the cluster's name and lease over a restart.
func TestDataDirKeepsTheCluster(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path)
	if name, lease := d.Cluster(); name != "" || lease != 0 {
		t.Errorf("a new directory belongs to %q, lease %v", name, lease)
	}
	if err := d.SetCluster("ünlike", 3*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if name, lease := mustOpenDir(t, path).Cluster(); name != "ünlike" || lease != 3*time.Second {
		t.Errorf("the directory belongs to %q, lease %v", name, lease)
	}
}

// A node whose mesh.cluster is not that of its data directory does not start.
func TestNodeOfAnotherClusterDoesNotStart(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path)
	if err := d.SetCluster("theirs", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Cluster, cfg.Found = "a", path, "ours", true
	cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := New(cfg)
	if err == nil {
		n.Kill()
		t.Fatal("the node has started")
	}
	for _, want := range []string{"mesh.cluster", `"ours"`, `"theirs"`, path} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s: %v", want, err)
		}
	}
}
