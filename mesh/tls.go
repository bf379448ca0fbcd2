package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/nodetls"
)

// TLS says how the streams of a node are secured. The zero value is no TLS.
type TLS struct {
	// CertFile, KeyFile and CAFile are the node's certificate, its key, and the bundle of trusted
	// authorities, in PEM. Changes are noticed within 10 s, and by Node.Reload. The certificate of a
	// member carries the DNS name member.<cluster>.sharelock.
	CertFile, KeyFile, CAFile string
	// Cert, Key and CA are the same in memory, instead of files. They do not change.
	Cert, Key, CA []byte
	// Members is [TLSRequired], [TLSMigrate] or [TLSOff] for the peer port. Empty is TLSRequired
	// with a certificate, and TLSOff without.
	Members string
	// Clients is [TLSOn], [TLSMutual], [TLSMigrate] or [TLSOff] for the ports of clients. Empty is
	// TLSOn with a certificate, and TLSOff without.
	Clients string
}

// The modes of TLS.
const (
	// TLSOff is without TLS.
	TLSOff = "off"
	// TLSRequired is TLS between members, each of which shows its certificate.
	TLSRequired = "required"
	// TLSOn is TLS for clients. A client may show a certificate.
	TLSOn = "on"
	// TLSMutual is TLS for clients, each of which shows a certificate.
	TLSMutual = "mutual"
	// TLSMigrate takes streams with and without TLS, so that a living mesh and its clients can
	// change over. Members dial those with TLS that say they take it. It secures nothing.
	TLSMigrate = "migrate"
)

// configured reports whether there is a certificate.
func (t *TLS) configured() bool {
	return t.CertFile != "" || t.KeyFile != "" || t.CAFile != "" || t.Cert != nil || t.Key != nil || t.CA != nil
}

// members returns the mode for the peer port.
func (t *TLS) members() string { return t.mode(t.Members, TLSRequired) }

// clients returns the mode for the ports of clients.
func (t *TLS) clients() nodetls.Clients {
	switch t.mode(t.Clients, TLSOn) {
	case TLSOn:
		return nodetls.ClientsOn
	case TLSMutual:
		return nodetls.ClientsMutual
	case TLSMigrate:
		return nodetls.ClientsMigrate
	default:
		return nodetls.ClientsOff
	}
}

func (t *TLS) mode(set, certified string) string {
	if !t.configured() {
		certified = TLSOff
	}
	return cmp.Or(set, certified)
}

// memberName is the DNS name that members ask each other for, or empty if they have no TLS.
func (c *Config) memberName() string {
	if c.TLS.members() == TLSOff {
		return ""
	}
	return certs.MemberName(c.Cluster)
}

// source returns where the certificate comes from.
func (t *TLS) source() nodetls.Source {
	if t.Cert != nil || t.Key != nil || t.CA != nil {
		return nodetls.Memory(nodetls.Material{Cert: t.Cert, Key: t.Key, CA: t.CA})
	}
	return nodetls.Files(t.CertFile, t.KeyFile, t.CAFile)
}

// validateTLS reports what is wrong with the settings of TLS, except what is in the files.
func (c *Config) validateTLS(check func(ok bool, key, format string, args ...any)) {
	t := &c.TLS
	check(t.Members == "" || slices.Contains([]string{TLSRequired, TLSMigrate, TLSOff}, t.Members), "tls.members", "want required, migrate or off, have %q", t.Members)
	check(t.Clients == "" || slices.Contains([]string{TLSOn, TLSMutual, TLSMigrate, TLSOff}, t.Clients), "tls.clients", "want on, mutual, migrate or off, have %q", t.Clients)
	if !t.configured() {
		for key, mode := range map[string]string{"tls.members": t.members(), "tls.clients": t.mode(t.Clients, TLSOn)} {
			check(mode == TLSOff, key, "%s needs a certificate: set tls.cert_file, tls.key_file and tls.ca_file", mode)
		}
		return
	}
	if t.Cert == nil && t.Key == nil && t.CA == nil {
		for key, file := range map[string]string{"tls.cert_file": t.CertFile, "tls.key_file": t.KeyFile, "tls.ca_file": t.CAFile} {
			check(file != "", key, "must not be empty: set tls.cert_file, tls.key_file and tls.ca_file together")
		}
	}
	if t.members() != TLSOff {
		err := certs.CheckCluster(c.Cluster)
		check(err == nil, "mesh.cluster", "%v, which it must be with TLS between members", err)
	}
}

// migrationNotice is how often a node reports that TLS is being turned on.
const migrationNotice = time.Hour

// warnOfMigration warns while a node takes streams without TLS besides those with, until ctx ends.
func (t *TLS) warnOfMigration(ctx context.Context, log *slog.Logger) {
	var keys []string
	if t.members() == TLSMigrate {
		keys = append(keys, "tls.members")
	}
	if t.clients() == nodetls.ClientsMigrate {
		keys = append(keys, "tls.clients")
	}
	if len(keys) == 0 {
		return
	}
	tick := time.NewTicker(migrationNotice)
	defer tick.Stop()
	for {
		log.Warn("connections without TLS are accepted: end the migration when all nodes, or all clients, have TLS", "migrate", keys)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Reload loads the certificate, its key, the bundle of authorities, the file of gossip keys and the
// auth file again. What is not accepted is an error, and the old ones remain. A node also looks for changes
// by itself.
func (n *Node) Reload() error {
	var err error
	if n.secure.store != nil {
		if err = n.secure.store.Reload(); err != nil {
			err = fmt.Errorf("TLS: %w", err)
		}
	}
	if n.auth != nil {
		err = errors.Join(err, n.auth.Reload())
	}
	return errors.Join(err, n.keys.own.Reload())
}

// TLSStats returns counts of the node's certificates, or the zero value without TLS.
func (n *Node) TLSStats() nodetls.Stats { return n.secure.stats() }
