package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// access is how a client command proves who it is and checks the nodes.
type access struct {
	// tls demands TLS. It is implied by the files.
	tls           bool
	ca, cert, key string
	serverName    string
	// token is the bearer token, or it is in tokenFile.
	token, tokenFile string
	// plaintext allows the token to be sent to other machines without TLS.
	plaintext bool
}

// accessSetting is a setting of access that a flag, an environment variable or a context may have.
type accessSetting struct {
	flag, variable, usage string
	value                 func(*access) *string
	// context is its key in the file of contexts; "" if it has none.
	context string
}

// secret reports whether the setting is a credential, whose variable CMD of lock and flock does not get.
func (s accessSetting) secret() bool {
	return s.flag == "tls-cert" || s.flag == "tls-key" || strings.HasPrefix(s.flag, "auth-token")
}

func accessSettings() []accessSetting {
	return []accessSetting{
		{"tls-ca", "SHARELOCK_TLS_CA", "use TLS, and trust the authorities in this PEM file", func(a *access) *string { return &a.ca }, "tls_ca"},
		{"tls-cert", "SHARELOCK_TLS_CERT", "use TLS, and show the certificate in this PEM file", func(a *access) *string { return &a.cert }, "tls_cert"},
		{"tls-key", "SHARELOCK_TLS_KEY", "the PEM file of the certificate's key", func(a *access) *string { return &a.key }, "tls_key"},
		{
			"tls-server-name", "SHARELOCK_TLS_SERVER_NAME", "the name that nodes must prove, in place of their hosts",
			func(a *access) *string { return &a.serverName }, "tls_server_name",
		},
		{
			"auth-token", "SHARELOCK_AUTH_TOKEN", "the bearer token; others on this machine can see flags, so use a file",
			func(a *access) *string { return &a.token }, "",
		},
		{
			"auth-token-file", "SHARELOCK_AUTH_TOKEN_FILE", "the file of the bearer token, which may change",
			func(a *access) *string { return &a.tokenFile }, "auth_token_file",
		},
	}
}

func (a *access) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&a.tls, "tls", false, "use TLS, and trust the authorities of the system if --tls-ca is not given")
	for _, s := range accessSettings() {
		fs.StringVar(s.value(a), s.flag, "", s.usage+" (env "+s.variable+")")
	}
	fs.BoolVar(&a.plaintext, "auth-plaintext", false, "send the token to other machines without TLS, too")
}

// complete takes settings that the flags leave open from the environment, and then from the context. The
// two settings of the token count as one: only those of the first source that has any are used.
func (a *access) complete(environ []string, from *savedContext) error {
	hasToken := func() bool { return a.token != "" || a.tokenFile != "" }
	take := func(get func(s accessSetting) string) {
		had := hasToken()
		for _, s := range accessSettings() {
			value := s.value(a)
			if *value == "" && (!had || !strings.HasPrefix(s.flag, "auth-token")) {
				*value = get(s)
			}
		}
	}
	if a.token != "" && a.tokenFile != "" {
		return exit.Usagef("--auth-token and --auth-token-file: want one of them")
	}
	take(func(s accessSetting) string { return variable(environ, s.variable, "") })
	if a.token != "" && a.tokenFile != "" {
		return exit.Usagef("SHARELOCK_AUTH_TOKEN and SHARELOCK_AUTH_TOKEN_FILE: want one of them")
	}
	if from != nil {
		take(func(s accessSetting) string { return from.settings[s.context] })
		a.tls = a.tls || from.tls
	}
	if (a.cert == "") != (a.key == "") {
		return exit.Usagef("--tls-cert and --tls-key: want both or none")
	}
	return nil
}

// options sets the options of a client. It reports errors in the files now; later they are read again
// for each connection.
func (a *access) options(o *client.Options) error {
	if a.tls || a.ca != "" || a.cert != "" || a.serverName != "" {
		if _, err := a.load(); err != nil {
			return exit.Usagef("%w", err)
		}
		o.LoadTLS = a.load
	}
	if a.token != "" || a.tokenFile != "" {
		if _, err := a.bearer(context.Background()); err != nil {
			return exit.Usagef("%w", err)
		}
		o.Token, o.AllowPlaintextTokens = a.bearer, a.plaintext
	}
	return nil
}

// load reads the files.
func (a *access) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.serverName}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s contains no certificate", a.ca)
		}
	}
	if a.cert != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %s, %s: %w", a.cert, a.key, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// bearer returns the token.
func (a *access) bearer(context.Context) (string, error) {
	if a.tokenFile == "" {
		return strings.TrimSpace(a.token), nil
	}
	text, err := os.ReadFile(a.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--auth-token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", errors.New("--auth-token-file: " + a.tokenFile + " is empty")
	}
	return token, nil
}

// withoutSecrets returns an environment without the variables that name the caller's credential.
func withoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(accessSettings(), func(s accessSetting) bool { return s.secret() && s.variable == name })
	})
}
