package nodetls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Set is a certificate, its key and the authorities that are trusted with it. It is immutable.
type Set struct {
	cert    tls.Certificate
	bundle  []*x509.Certificate
	pool    *x509.CertPool
	expires time.Time
	content [sha256.Size]byte
	// The configs are complete, and shared by all handshakes of their kind.
	memberServer, memberClient *tls.Config
	// refusals is for clients at a port that serves no clients.
	refusals *tls.Config
	clients  map[clientPort]*tls.Config
}

// Expires returns when the certificate of the node, or the last authority that vouches for it,
// ends.
func (s *Set) Expires() time.Time { return s.expires }

// errTime: the certificate fits, but it has expired or is not valid yet.
var errTime = errors.New("the certificate is not valid now")

// newSet checks that the material fits together, and that the certificate is good for the tasks of a
// node with this member name; the name is empty if members do not use TLS. If only the time is
// wrong, newSet returns the set and an error that wraps errTime.
func newSet(m Material, member string, clock func() time.Time) (*Set, error) {
	cert, err := tls.X509KeyPair(m.Cert, m.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
	}
	s := &Set{cert: cert, pool: x509.NewCertPool(), content: contentOf(m)}
	if s.bundle, err = parseBundle(m.CA); err != nil {
		return nil, fmt.Errorf("tls.ca_file: %w", err)
	}
	for _, c := range s.bundle {
		s.pool.AddCert(c)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if member != "" {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
		if err := checkMember(cert.Leaf, member); err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
	}
	var late error
	for _, usage := range usages {
		expires, err := s.verify(usage, clock())
		if err != nil && !errors.Is(err, errTime) {
			return nil, fmt.Errorf("tls.cert_file and tls.ca_file: %w", err)
		}
		late, s.expires = errors.Join(late, err), expires
	}
	s.configure(member, clock)
	return s, late
}

// contentOf returns a hash by which material is compared.
func contentOf(m Material) [sha256.Size]byte {
	var all []byte
	for _, part := range [][]byte{m.Cert, m.Key, m.CA} {
		sum := sha256.Sum256(part)
		all = append(all, sum[:]...)
	}
	return sha256.Sum256(all)
}

// parseBundle returns the certificates of a PEM file, which must not contain anything else.
func parseBundle(data []byte) (bundle []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it has a block of type %s, want certificates only", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		bundle = append(bundle, c)
	}
	if len(bundle) == 0 {
		return nil, errors.New("it has no certificate in PEM")
	}
	return bundle, nil
}

// checkMember returns an error that lists the names of a certificate if it is not a member's.
func checkMember(c *x509.Certificate, member string) error {
	if slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.EqualFold(name, member) }) {
		return nil
	}
	return fmt.Errorf("the certificate of %s is not one of a member: it has no DNS name %s", describe(c), member)
}

// describe names a certificate by its names.
func describe(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	const most = 8 // a certificate of a stranger may have thousands
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	cn := c.Subject.CommonName
	if cn == "" {
		cn = "no common name"
	}
	if len(names) == 0 {
		return fmt.Sprintf("%q (no names)", cn)
	}
	return fmt.Sprintf("%q (%s)", cn, strings.Join(names, ", "))
}

// verify checks the certificate of the node against the bundle, and returns until when some chain
// is valid. An error that wraps errTime says that only the time is wrong.
func (s *Set) verify(usage x509.ExtKeyUsage, now time.Time) (expires time.Time, err error) {
	leaf := s.cert.Leaf
	opts := x509.VerifyOptions{Roots: s.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, der := range s.cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return expires, err
		}
		opts.Intermediates.AddCert(c)
	}
	var first error
	for _, at := range []time.Time{now, leaf.NotAfter, leaf.NotBefore} {
		opts.CurrentTime = at
		chains, err := leaf.Verify(opts)
		if err == nil {
			if first != nil {
				first = fmt.Errorf("%w: it is valid from %s to %s", errTime, stamp(leaf.NotBefore), stamp(leaf.NotAfter))
			}
			return latest(chains), first
		}
		if first == nil {
			first = err
		}
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); !ok || invalid.Reason != x509.Expired {
			return expires, err
		}
	}
	return expires, first
}

// latest returns when the last of some chains ends. A chain ends with the first of its
// certificates.
func latest(chains [][]*x509.Certificate) (end time.Time) {
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(end) {
			end = first
		}
	}
	return end
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxChain bounds how many certificates are between a leaf and a trusted one.
const maxChain = 8

// vouches reports whether the bundle still vouches for a certificate that was verified when its
// stream began. It checks signatures only, and not times: a stream may outlive its certificates.
func (s *Set) vouches(peer []*x509.Certificate) bool {
	return s.reaches(peer[0], peer[1:], maxChain)
}

func (s *Set) reaches(c *x509.Certificate, intermediates []*x509.Certificate, depth int) bool {
	for _, ca := range s.bundle {
		if c.Equal(ca) || issued(ca, c) {
			return true
		}
	}
	if depth == 0 {
		return false
	}
	for i, next := range intermediates {
		if issued(next, c) && s.reaches(next, slices.Delete(slices.Clone(intermediates), i, i+1), depth-1) {
			return true
		}
	}
	return false
}

// issued reports whether an authority has signed a certificate.
func issued(ca, c *x509.Certificate) bool {
	return bytes.Equal(ca.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(ca) == nil
}
