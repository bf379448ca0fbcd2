package nodetls

import (
	"fmt"
	"io"
	"os"
)

// maxFile bounds the size of a file in bytes.
const maxFile = 1 << 20

// Material is what a set is made of, as PEM.
type Material struct {
	// Cert is the certificate of the node, followed by the intermediate ones, and Key is its key.
	Cert, Key []byte
	// CA is the bundle of trusted authorities.
	CA []byte
}

// Source returns the newest material. It is called repeatedly.
type Source func() (Material, error)

// Files returns the source of three files. Symbolic links are followed at each call.
func Files(cert, key, ca string) Source {
	return func() (m Material, err error) {
		for _, f := range []struct {
			key, path string
			to        *[]byte
		}{
			{"tls.cert_file", cert, &m.Cert}, {"tls.key_file", key, &m.Key}, {"tls.ca_file", ca, &m.CA},
		} {
			if *f.to, err = readFile(f.path); err != nil {
				return Material{}, fmt.Errorf("%s: %w", f.key, err)
			}
		}
		return m, nil
	}
}

// Memory returns the source of material that never changes.
func Memory(m Material) Source { return func() (Material, error) { return m, nil } }

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // it names the file
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}
