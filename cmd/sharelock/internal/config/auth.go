package config

// authKeys returns the settings that say who may do what.
func authKeys() []key {
	return []key{
		{
			"auth.file", "auth-file", "file of the principals and of what they may do (default: everyone may do everything)",
			textValue(func(c *Config) *string { return &c.Mesh.Auth.File }),
		},
		{
			"auth.allow_plaintext_tokens", "", "",
			boolean(func(c *Config) *bool { return &c.Mesh.Auth.AllowPlaintextTokens }),
		},
	}
}
