// Package certs makes the certificates of a mesh: an authority, certificates for members,
// which serve and dial, and certificates for clients. They are ECDSA P-256.
//
// A member is known by a DNS name that no client certificate of the same authority carries,
// see [MemberName], and not by the address of its node.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// How long certificates are valid. They are dated back because the clocks of the machines of a
// mesh need not agree.
const (
	caLifetime   = 5 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	datedBack    = 24 * time.Hour
)

// The PEM types of the files.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8
)

// Pair is a certificate and its private key as PEM, as they are in files.
type Pair struct {
	Cert, Key []byte
}

// TLS returns the pair for a [tls.Config].
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// CA is a certificate authority. It is safe for concurrent use.
type CA struct {
	pair Pair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Option changes a certificate before it is signed, for tests.
type Option func(template *x509.Certificate)

// Valid sets the time in which the certificate is valid.
func Valid(notBefore, notAfter time.Time) Option {
	return func(t *x509.Certificate) { t.NotBefore, t.NotAfter = notBefore, notAfter }
}

// Usages replaces what the certificate may be used for.
func Usages(usages ...x509.ExtKeyUsage) Option {
	return func(t *x509.Certificate) { t.ExtKeyUsage = usages }
}

// Names replaces all names that the certificate is valid for: DNS names and IP addresses.
func Names(names ...string) Option {
	return func(t *x509.Certificate) {
		t.DNSNames, t.IPAddresses = nil, nil
		addNames(t, names)
	}
}

// NewCA makes an authority, which is valid for five years.
func NewCA(opts ...Option) (*CA, error) {
	t := template("sharelock CA", caLifetime)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	for _, o := range opts {
		o(t)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	pair, err := sign(t, t, key, key)
	if err != nil {
		return nil, err
	}
	return ParseCA(pair)
}

// ParseCA returns the authority whose certificate and key are in the pair.
func ParseCA(pair Pair) (*CA, error) {
	c, err := pair.TLS() // which also checks that the key fits
	if err != nil {
		return nil, err
	}
	key, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	switch {
	case !ok:
		return nil, errors.New("the key of the authority is not an ECDSA key")
	case !c.Leaf.IsCA || c.Leaf.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("the certificate is not one of an authority")
	}
	return &CA{pair: pair, cert: c.Leaf, key: key}, nil
}

// Pair returns the certificate and the key of the authority.
func (ca *CA) Pair() Pair { return ca.pair }

// Expires returns until when the authority is valid.
func (ca *CA) Expires() time.Time { return ca.cert.NotAfter }

// Pool returns a new pool with the authority in it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Member makes the certificate of a member of a cluster, which is valid for a year. It proves to
// members that its bearer is one (see [MemberName]), and to clients that it serves at localhost
// and at the hosts, which are DNS names or IP addresses.
func (ca *CA) Member(name, cluster string, hosts []string, opts ...Option) (Pair, error) {
	if err := errors.Join(checkName("member name", name), CheckCluster(cluster), checkHosts(hosts)); err != nil {
		return Pair{}, err
	}
	if err := checkDNS("member name", NodeName(name, cluster)); err != nil {
		return Pair{}, err
	}
	t := template(name, leafLifetime)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	addNames(t, []string{MemberName(cluster), NodeName(name, cluster), "localhost", "127.0.0.1", "::1"})
	addNames(t, hosts)
	return ca.leaf(t, opts)
}

// Client makes the certificate of a client, which is valid for a year. The name is in its common
// name and among its DNS names.
func (ca *CA) Client(name string, opts ...Option) (Pair, error) {
	if err := checkName("client name", name); err != nil {
		return Pair{}, err
	}
	if IsMemberName(name) {
		return Pair{}, fmt.Errorf("client name %q is a name that only members carry", name)
	}
	t := template(name, leafLifetime)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{name}
	return ca.leaf(t, opts)
}

func (ca *CA) leaf(t *x509.Certificate, opts []Option) (Pair, error) {
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	for _, o := range opts {
		o(t)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	return sign(t, ca.cert, key, ca.key)
}

func template(name string, lifetime time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"sharelock"}},
		NotBefore: now.Add(-datedBack),
		NotAfter:  now.Add(lifetime),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
}

func addNames(t *x509.Certificate, names []string) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
}

// sign makes the pair of the certificate t for key, signed by an authority.
func sign(t, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (Pair, error) {
	cert, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), parentKey)
	if err != nil {
		return Pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}),
	}, nil
}
