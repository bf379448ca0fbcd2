package host

import (
	"errors"
	"os"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/mesh"
)

// devClient is the name of the client whose certificate dev --tls makes.
const devClient = "client"

// devTLS makes the certificates of a mesh in one process. A nil devTLS makes none.
type devTLS struct {
	ca *certs.CA
	// dir has the files of the authority and of a client.
	dir string
	// temporary: dir is removed at the end.
	temporary bool
}

// newDevTLS makes an authority, and a client's certificate in dir; if that is empty, in a temporary
// folder. The caller calls close.
func newDevTLS(dir string) (*devTLS, error) {
	d := &devTLS{dir: dir, temporary: dir == ""}
	var err error
	if d.temporary {
		d.dir, err = os.MkdirTemp("", "sharelock-dev-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if err := d.write(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *devTLS) write() (err error) {
	if d.ca, err = certs.NewCA(); err != nil {
		return err
	}
	client, err := d.ca.Client(devClient)
	if err != nil {
		return err
	}
	return errors.Join(d.ca.WriteCA(d.dir), client.Write(d.dir, devClient))
}

// node returns the certificate of a node.
func (d *devTLS) node(name, cluster string) (mesh.TLS, error) {
	if d == nil {
		return mesh.TLS{}, nil
	}
	pair, err := d.ca.Member(name, cluster, nil)
	return mesh.TLS{Cert: pair.Cert, Key: pair.Key, CA: d.ca.Pair().Cert}, err
}

// curl returns how to call curl, and the scheme of its URLs.
func (d *devTLS) curl() (command, scheme string) {
	if d == nil {
		return "curl -s", "http"
	}
	return "curl -s --cacert " + certs.CertFile(d.dir, "ca"), "https"
}

// exports returns the commands that make the client commands use TLS.
func (d *devTLS) exports() string {
	if d == nil {
		return ""
	}
	return "  export SHARELOCK_TLS_CA=" + certs.CertFile(d.dir, "ca") + "\n" +
		"  export SHARELOCK_TLS_CERT=" + certs.CertFile(d.dir, devClient) + "\n" +
		"  export SHARELOCK_TLS_KEY=" + certs.KeyFile(d.dir, devClient) + "\n"
}

func (d *devTLS) close() error {
	if d == nil || !d.temporary {
		return nil
	}
	return os.RemoveAll(d.dir)
}
