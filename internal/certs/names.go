package certs

import (
	"fmt"
	"net"
	"strings"
)

// Bounds of X.509 and DNS, in bytes.
const (
	maxCommonName = 64
	maxLabel      = 63
	maxDNSName    = 253
)

// Members carry DNS names under member.<cluster>.sharelock.
const (
	memberLabel = "member"
	rootLabel   = "sharelock"
)

// MemberName returns the DNS name that the certificates of all members of the cluster carry and
// those of clients do not. Members ask each other for it.
func MemberName(cluster string) string { return memberLabel + "." + cluster + "." + rootLabel }

// NodeName returns the DNS name that only the certificate of the named member carries.
func NodeName(name, cluster string) string { return name + "." + MemberName(cluster) }

// IsMemberName reports whether a DNS name of a certificate, which may be a wildcard, proves that
// its bearer is a member of some cluster.
func IsMemberName(name string) bool {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
	n := len(labels)
	return n >= 3 && labels[n-1] == rootLabel && (labels[n-3] == memberLabel || labels[n-3] == "*")
}

// CheckCluster returns an error if the name of a cluster cannot be part of a DNS name.
func CheckCluster(cluster string) error {
	if !isLabel(cluster) || strings.ContainsRune(cluster, '_') {
		return fmt.Errorf("cluster %q is not a DNS label: 1 to 63 letters, digits and inner hyphens", cluster)
	}
	return nil
}

// checkName checks a common name that is also a DNS name and the name of a file.
func checkName(what, name string) error {
	if len(name) > maxCommonName {
		return fmt.Errorf("%s %q has %d bytes, at most %d are allowed", what, name, len(name), maxCommonName)
	}
	return checkDNS(what, name)
}

func checkDNS(what, name string) error {
	if len(name) > maxDNSName {
		return fmt.Errorf("%s %q is too long for a DNS name", what, name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return fmt.Errorf("%s %q is not a DNS name: labels of 1 to 63 letters, digits, hyphens and underscores, with dots between", what, name)
		}
	}
	return nil
}

func checkHosts(hosts []string) error {
	for _, host := range hosts {
		if net.ParseIP(host) != nil {
			continue
		}
		if err := checkDNS("host", strings.TrimPrefix(host, "*.")); err != nil {
			return err
		}
		if IsMemberName(host) {
			return fmt.Errorf("host %q is a name that members carry by their cluster and name", host)
		}
	}
	return nil
}

// isLabel reports whether s may stand between the dots of a DNS name. Underscores are allowed: the
// names of hosts have them.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		default:
			return false
		}
	}
	return true
}
