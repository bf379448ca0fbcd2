package config

// insecureKey is the setting that lets a node without TLS or gossip keys use a network.
func insecureKey() key {
	return key{
		"mesh.insecure", "insecure", "use addresses of a network without TLS between members, or without gossip keys",
		boolean(func(c *Config) *bool { return &c.Mesh.Insecure }),
	}
}

// tlsKeys returns the settings of TLS.
func tlsKeys() []key {
	return []key{
		{
			"tls.cert_file", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.TLS.CertFile }),
		},
		{
			"tls.key_file", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.TLS.KeyFile }),
		},
		{
			"tls.ca_file", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.TLS.CAFile }),
		},
		{
			"tls.members", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.TLS.Members }),
		},
		{
			"tls.clients", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.TLS.Clients }),
		},
	}
}

// limitKeys returns the bounds on what clients may open.
func limitKeys() []key {
	return []key{
		{
			"limits.max_connections", "", "",
			integer(func(c *Config) *int { return &c.Mesh.MaxConnections }),
		},
		{
			"limits.max_sessions", "", "",
			integer(func(c *Config) *int { return &c.Mesh.MaxSessions }),
		},
	}
}
