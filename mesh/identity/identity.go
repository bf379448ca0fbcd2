package identity

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/sgkandale/sharelock/ring"
)

// identityFile keeps the id of the process and the counter of its last start.
const identityFile = "identity"

// idBytes is the length of an id before it is printed.
const idBytes = 8

// readIdentity reads the id and the counter of the last start, or makes an id
// if the directory was never used.
func (d *Dir) readIdentity() error {
	data, err := os.ReadFile(d.file(identityFile))
	if err == nil {
		id, counter, err := decodeIdentity(data)
		if err != nil {
			return fmt.Errorf("%s: %w", identityFile, err)
		}
		d.identity.ID, d.identity.Counter = id, counter
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The identity is written before everything else. If it is gone and the rest
	// is not, someone removed it; a new id would then own another's promises.
	for _, name := range []string{promiseFile, raftFolder} {
		if _, err := os.Lstat(d.file(name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing but %s is there; restore it, or empty the directory to start as a new member",
				errDamaged, identityFile, name)
		}
	}
	d.identity.ID = newID()
	return nil
}

func encodeIdentity(id ring.Identity) []byte {
	return encodeRecord("identity", []recordField{
		{"id", id.ID},
		{"counter", strconv.FormatUint(id.Counter, 10)},
	})
}

func decodeIdentity(data []byte) (id string, counter uint64, err error) {
	values, err := decodeRecord("identity", data, "id", "counter")
	if err != nil {
		return "", 0, err
	}
	if raw, err := hex.DecodeString(values[0]); err != nil || hex.EncodeToString(raw) != values[0] || len(raw) != idBytes {
		return "", 0, fmt.Errorf("%w: id is %q", errDamaged, values[0])
	}
	if counter, err = parseCount("counter", values[1]); err != nil {
		return "", 0, err
	}
	if counter+1 == 0 {
		return "", 0, fmt.Errorf("%w: the counter is used up", errDamaged)
	}
	return values[0], counter, nil
}

func newID() string {
	var b [idBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}
