package auth

import (
	"crypto/x509"
	"errors"
	"strings"
)

// The kinds of names in a certificate, as the auth file writes them.
const (
	uriName = "uri:"
	dnsName = "dns:"
	cnName  = "cn:"
)

// certificateNames returns the names of a certificate as the auth file writes them. The first one
// that belongs to a principal decides.
func certificateNames(c *x509.Certificate) []string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, uriName+u.String())
	}
	for _, name := range c.DNSNames {
		names = append(names, dnsName+strings.ToLower(name))
	}
	if cn := c.Subject.CommonName; cn != "" {
		names = append(names, cnName+cn)
	}
	return names
}

// parseCertificateName returns the name of a certificate in its one spelling.
func parseCertificateName(s string) (string, error) {
	for _, kind := range []string{uriName, dnsName, cnName} {
		name, ok := strings.CutPrefix(s, kind)
		switch {
		case !ok || name == "":
		case kind == dnsName:
			return kind + strings.ToLower(name), nil
		default:
			return s, nil
		}
	}
	return "", errors.New(`want "dns:", "uri:" or "cn:" and a name`)
}
