package identity

import (
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
