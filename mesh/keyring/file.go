package keyring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxFile is the largest size of a keys file in bytes.
const maxFile = 64 << 10

// errNoKeys is returned for a keys file without a key.
var errNoKeys = errors.New("there is no key in it")

// ParseFile reads the text of a keys file: a key in base64 on each line, the primary first. Empty
// lines and lines that begin with # are skipped. An error names the line and contains no key.
func ParseFile(data []byte) (Ring, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	var ring Ring
	var lines []int // the line numbers of the keys in ring
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if i := slices.Index(ring, k); i >= 0 {
			return nil, fmt.Errorf("line %d: the key is on line %d already", number, lines[i])
		}
		if len(ring) == MaxKeys {
			return nil, fmt.Errorf("line %d: more than %d keys", number, MaxKeys)
		}
		ring, lines = append(ring, k), append(lines, number)
	}
	if len(ring) == 0 {
		return nil, errNoKeys
	}
	return ring, nil
}

// readFile reads a keys file, up to one byte more than ParseFile accepts.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // the error names the file
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}
