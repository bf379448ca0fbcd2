package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/mesh"
)

// security holds the certificates of a cluster, see Options.TLS.
type security struct {
	dir string
	who TLS

	mu sync.Mutex // guards what follows
	// ca signs new certificates. trusted lists the authorities that clients trust.
	ca      *certs.CA
	trusted []*certs.CA
	client  *certs.Pair // nil: clients show no certificate
}

func newSecurity(dir string, who TLS) (*security, error) {
	ca, err := certs.NewCA()
	if err != nil {
		return nil, err
	}
	s := &security{dir: filepath.Join(dir, "tls"), who: who, ca: ca}
	if who != TLSMembers {
		s.trusted = []*certs.CA{ca}
	}
	if who == TLSMutual {
		pair, err := ca.Client("client")
		if err != nil {
			return nil, err
		}
		s.client = &pair
	}
	return s, os.MkdirAll(s.dir, 0o700)
}

// config sets the TLS files and modes of a node.
func (s *security) config(name string, cfg *mesh.Config) {
	cfg.TLS.Members = mesh.TLSRequired
	cfg.TLS.Clients = map[TLS]string{TLSMembers: mesh.TLSOff, TLSAll: mesh.TLSOn, TLSMutual: mesh.TLSMutual}[s.who]
	cfg.TLS.CertFile, cfg.TLS.KeyFile = certs.CertFile(s.dir, name), certs.KeyFile(s.dir, name)
	cfg.TLS.CAFile = filepath.Join(s.dir, name+"-ca.pem")
}

// write replaces the files of a node, one after the other, as an operator does.
func (s *security) write(name string, pair certs.Pair, bundle []*certs.CA) error {
	var all bytes.Buffer
	for _, ca := range bundle {
		all.Write(ca.Pair().Cert)
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{filepath.Join(s.dir, name+"-ca.pem"), all.Bytes()}, {certs.CertFile(s.dir, name), pair.Cert}, {certs.KeyFile(s.dir, name), pair.Key},
	} {
		if err := os.WriteFile(f.path+".new", f.data, 0o600); err != nil {
			return err
		}
		if err := os.Rename(f.path+".new", f.path); err != nil {
			return err
		}
	}
	return nil
}

// dial makes a TLS connection of a client to a node over conn.
func (s *security) dial(ctx context.Context, conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	plain := len(s.trusted) == 0
	s.mu.Unlock()
	if plain {
		return conn, nil
	}
	cfg := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), NextProtos: []string{"h2", "sharelock/1"}}
	s.mu.Lock()
	for _, ca := range s.trusted {
		cfg.RootCAs.AppendCertsFromPEM(ca.Pair().Cert)
	}
	pair := s.client
	s.mu.Unlock()
	if pair != nil {
		cert, err := pair.TLS()
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	c := tls.Client(conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// CA returns the authority that signs certificates of new nodes. It is nil without Options.TLS.
func (c *Cluster) CA() *certs.CA {
	if c.security == nil {
		return nil
	}
	c.security.mu.Lock()
	defer c.security.mu.Unlock()
	return c.security.ca
}

// Certify gives node i a new certificate, signed by ca, and the bundle of the authorities that
// the node trusts. A running node notices the change itself, or by Reload.
func (c *Cluster) Certify(i int, ca *certs.CA, bundle []*certs.CA, opts ...certs.Option) error {
	name := c.at(i).name()
	pair, err := ca.Member(name, clusterName, []string{c.at(i).place.ip, name}[c.withoutIP(i):], opts...)
	if err != nil {
		return fmt.Errorf("certify node %d: %w", i, err)
	}
	return c.security.write(name, pair, bundle)
}

// withoutIP is 1 for a node whose machine has no address of its own.
func (c *Cluster) withoutIP(i int) int {
	if c.at(i).place.ip == "" {
		return 1
	}
	return 0
}

// Trust sets the authority of new nodes, and the authorities that clients of the cluster trust for new
// connections. If they trust none, they connect without TLS. With a pair, clients show that certificate.
func (c *Cluster) Trust(ca *certs.CA, client *certs.Pair, trusted ...*certs.CA) {
	c.security.mu.Lock()
	defer c.security.mu.Unlock()
	c.security.ca, c.security.client, c.security.trusted = ca, client, trusted
}
