package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// clusterFile keeps what a process has to know of its cluster before it has heard of it
// again: the name, which the configuration must agree with, and the lease, which Raft's
// timeouts derive from when it starts (V4).
const clusterFile = "cluster"

// clusterRecord is the content of clusterFile.
type clusterRecord struct {
	name  string
	lease time.Duration
}

// readCluster reads the record; a directory that follows no cluster yet has none.
func (d *Dir) readCluster() error {
	data, err := os.ReadFile(d.file(clusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		d.cluster, err = decodeCluster(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", clusterFile, err)
	}
	return nil
}

// Cluster returns the name and the lease of the cluster that the directory belongs to, ""
// and 0 if that is not known.
func (d *Dir) Cluster() (name string, lease time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster.name, d.cluster.lease
}

// SetCluster notes the name and the lease of the cluster, synced.
func (d *Dir) SetCluster(name string, lease time.Duration) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	c := clusterRecord{name, lease}
	d.mu.Lock()
	same, closed := d.cluster == c, d.closed
	d.mu.Unlock()
	if same || closed {
		return nil
	}
	if d.path != "" {
		if err := writeSynced(d.file(clusterFile), encodeCluster(c)); err != nil {
			return fmt.Errorf("%s: %w", clusterFile, err)
		}
	}
	d.mu.Lock()
	d.cluster = c
	d.mu.Unlock()
	return nil
}

func encodeCluster(c clusterRecord) []byte {
	return encodeRecord("cluster", []recordField{
		{"name", hex.EncodeToString([]byte(c.name))},
		{"lease", strconv.FormatInt(int64(c.lease), 10)},
	})
}

func decodeCluster(data []byte) (clusterRecord, error) {
	values, err := decodeRecord("cluster", data, "name", "lease")
	if err != nil {
		return clusterRecord{}, err
	}
	name, err := hex.DecodeString(values[0])
	if err != nil || hex.EncodeToString(name) != values[0] {
		return clusterRecord{}, fmt.Errorf("%w: %q is not hexadecimal", errDamaged, values[0])
	}
	lease, err := parseCount("lease", values[1])
	if err != nil {
		return clusterRecord{}, err
	}
	if lease == 0 || lease > uint64(time.Hour) {
		return clusterRecord{}, fmt.Errorf("%w: lease is %q", errDamaged, values[1])
	}
	return clusterRecord{string(name), time.Duration(lease)}, nil
}
