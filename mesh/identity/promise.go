package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// promiseFile keeps the cluster that the process follows or has promised to follow (V0).
const promiseFile = "promise"

// promiseRecord is the cluster that this process follows (V0).
type promiseRecord struct {
	clusterID []byte
	founder   ring.Identity
}

func (d *Dir) readPromise() error {
	data, err := os.ReadFile(d.file(promiseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.promiseRecord, err = decodePromise(data); err != nil {
		return fmt.Errorf("%s: %w", promiseFile, err)
	}
	return nil
}

// Promise is the cluster that this directory follows and the founder it was
// promised to; ok is false as long as it follows none (V0).
func (d *Dir) Promise() (clusterID []byte, founder ring.Identity, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]byte(nil), d.clusterID...), d.founder, len(d.clusterID) > 0
}

// SetPromise replaces the promise. It returns when the new one is synced; after
// an error either of the two may be found at the next start. The founder may be
// the zero Identity: a process that joined a cluster does not know it.
func (d *Dir) SetPromise(clusterID []byte, founder ring.Identity) error {
	if len(clusterID) == 0 || len(clusterID) > rules.MaxClusterID {
		return fmt.Errorf("promise: a cluster id of %d bytes, want 1 to %d", len(clusterID), rules.MaxClusterID)
	}
	p := promiseRecord{clusterID: append([]byte(nil), clusterID...), founder: founder}
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return fmt.Errorf("promise: data directory: %w", fs.ErrClosed)
	}
	if d.path != "" {
		if err := writeSynced(d.file(promiseFile), encodePromise(p)); err != nil {
			return fmt.Errorf("promise: %w", err)
		}
	}
	d.mu.Lock()
	d.promiseRecord = p
	d.mu.Unlock()
	return nil
}

func encodePromise(p promiseRecord) []byte {
	return encodeRecord("promise", []recordField{
		{"cluster", hex.EncodeToString(p.clusterID)},
		{"founder", hex.EncodeToString([]byte(p.founder.ID))},
		{"counter", strconv.FormatUint(p.founder.Counter, 10)},
		{"nonce", strconv.FormatUint(p.founder.Nonce, 10)},
	})
}

func decodePromise(data []byte) (promiseRecord, error) {
	values, err := decodeRecord("promise", data, "cluster", "founder", "counter", "nonce")
	if err != nil {
		return promiseRecord{}, err
	}
	var p promiseRecord
	var raw [2][]byte
	for i := range raw {
		raw[i], err = hex.DecodeString(values[i])
		if err != nil || hex.EncodeToString(raw[i]) != values[i] {
			return promiseRecord{}, fmt.Errorf("%w: %q is not hexadecimal", errDamaged, values[i])
		}
	}
	p.clusterID, p.founder.ID = raw[0], string(raw[1])
	if len(p.clusterID) == 0 || len(p.clusterID) > rules.MaxClusterID {
		return promiseRecord{}, fmt.Errorf("%w: a cluster id of %d bytes", errDamaged, len(p.clusterID))
	}
	if p.founder.Counter, err = parseCount("counter", values[2]); err != nil {
		return promiseRecord{}, err
	}
	if p.founder.Nonce, err = parseCount("nonce", values[3]); err != nil {
		return promiseRecord{}, err
	}
	return p, nil
}
