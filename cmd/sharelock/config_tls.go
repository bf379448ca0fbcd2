package main

// insecureKey is the setting that lets a node without TLS or gossip keys use a network.
func insecureKey() key {
	return key{
		"mesh.insecure", "insecure", "use addresses of a network without TLS between members, or without gossip keys",
		boolean(func(c *config) *bool { return &c.mesh.Insecure }),
	}
}

// tlsKeys returns the settings of TLS.
func tlsKeys() []key {
	return []key{
		{
			"tls.cert_file", "", "",
			textValue(func(c *config) *string { return &c.mesh.TLS.CertFile }),
		},
		{
			"tls.key_file", "", "",
			textValue(func(c *config) *string { return &c.mesh.TLS.KeyFile }),
		},
		{
			"tls.ca_file", "", "",
			textValue(func(c *config) *string { return &c.mesh.TLS.CAFile }),
		},
		{
			"tls.members", "", "",
			textValue(func(c *config) *string { return &c.mesh.TLS.Members }),
		},
		{
			"tls.clients", "", "",
			textValue(func(c *config) *string { return &c.mesh.TLS.Clients }),
		},
	}
}

// limitKeys returns the bounds on what clients may open.
func limitKeys() []key {
	return []key{
		{
			"limits.max_connections", "", "",
			integer(func(c *config) *int { return &c.mesh.MaxConnections }),
		},
		{
			"limits.max_sessions", "", "",
			integer(func(c *config) *int { return &c.mesh.MaxSessions }),
		},
	}
}
