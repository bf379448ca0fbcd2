package main

// authKeys returns the settings that say who may do what.
func authKeys() []key {
	return []key{
		{
			"auth.file", "auth-file", "file of the principals and of what they may do (default: everyone may do everything)",
			textValue(func(c *config) *string { return &c.mesh.Auth.File }),
		},
		{
			"auth.allow_plaintext_tokens", "", "",
			boolean(func(c *config) *bool { return &c.mesh.Auth.AllowPlaintextTokens }),
		},
	}
}
