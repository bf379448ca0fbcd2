package identity

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sgkandale/sharelock/internal/release"
)

// errDamaged: a file of the data directory is damaged. It is never
// replaced by a fresh one: a new id or a lower counter would be a lie to the
// other members.
var errDamaged = errors.New("the file is damaged")

// A record is a small text file: a line that says what it is, a line "name
// value" for each field in a fixed order, and a checksum over the lines before
// it.
//
//	sharelock identity 1
//	id 9f86d081884c7d65
//	counter 12
//	crc32c 1c291ca3
const (
	// recordFormat is the release that introduced this form of a record; that of a later
	// one has its line and its checksum in the same places.
	recordFormat   = 1
	recordMaxBytes = 4 << 10
)

type recordField struct{ name, value string }

// encodeRecord writes a record. Values contain no line breaks.
func encodeRecord(kind string, fields []recordField) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "sharelock %s %d\n", kind, recordFormat)
	for _, f := range fields {
		fmt.Fprintf(&b, "%s %s\n", f.name, f.value)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32c([]byte(b.String())))
	return []byte(b.String())
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decodeRecord reads the values of exactly these fields, in this order.
func decodeRecord(kind string, data []byte, names ...string) ([]string, error) {
	if len(data) > recordMaxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, len(data))
	}
	text := string(data)
	at := strings.LastIndex(text, "crc32c ")
	if at < 0 || text[at:] != fmt.Sprintf("crc32c %08x\n", crc32c(data[:at])) {
		return nil, fmt.Errorf("%w: wrong or missing checksum", errDamaged)
	}
	lines := strings.SplitAfter(text[:at], "\n")
	if err := checkFormat(kind, lines[0]); err != nil {
		return nil, err
	}
	// The text before the checksum ends with a line break, so the last of the
	// lines is empty.
	if len(lines) != len(names)+2 || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("%w: %d lines, want %d", errDamaged, len(lines), len(names)+2)
	}
	values := make([]string, len(names))
	for i, name := range names {
		value, ok := strings.CutPrefix(lines[i+1], name+" ")
		if !ok {
			return nil, fmt.Errorf("%w: line %d is %q, want field %q", errDamaged, i+2, lines[i+1], name)
		}
		values[i] = strings.TrimSuffix(value, "\n")
	}
	return values, nil
}

// checkFormat reads the first line of a record. One of a later release is not damaged, and
// the error says so.
func checkFormat(kind, line string) error {
	text, ok := strings.CutPrefix(line, "sharelock "+kind+" ")
	format, err := parseCount("format", strings.TrimSuffix(text, "\n"))
	switch {
	case ok && err == nil && format > recordFormat:
		return release.Newer(uint32(min(format, math.MaxUint32)))
	case !ok || err != nil || format != recordFormat:
		return fmt.Errorf("%w: it begins with %q, want %q", errDamaged, line, fmt.Sprintf("sharelock %s %d\n", kind, recordFormat))
	}
	return nil
}

// parseCount reads a decimal as encodeRecord's callers write it.
func parseCount(name, value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != value {
		return 0, fmt.Errorf("%w: %s is %q", errDamaged, name, value)
	}
	return n, nil
}

// writeSynced replaces a file so that after a crash at any moment it holds
// either the old or the new bytes, and after the return the new ones.
func writeSynced(path string, data []byte) (err error) {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
