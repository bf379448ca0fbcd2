package config

import (
	"fmt"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/mesh/keyring"
)

// gossipKeys returns the settings of gossip's encryption.
func gossipKeys() []key {
	return []key{
		{"mesh.gossip_encryption", "gossip-encryption", "required, migrate or off (default: required with gossip keys, off without)", value{setGossipEncryption, getGossipEncryption}},
		{
			"mesh.gossip_keys_file", "gossip-keys-file", "file of gossip keys, a line each, the first encrypts (default: the keys are in the data directory)",
			textValue(func(c *Config) *string { return &c.Mesh.GossipKeysFile }),
		},
	}
}

func setGossipEncryption(c *Config, v any) error {
	s, ok := v.(string)
	if b, isBool := v.(bool); isBool && !b {
		s, ok = keyring.Off.String(), true // off without quotes, in YAML 1.1
	}
	if !ok {
		return fmt.Errorf("want required, migrate or off, got %s", text.Value(v))
	}
	m, err := keyring.ParseMode(s)
	if err == nil {
		c.Mesh.GossipEncryption = m
	}
	return err
}

func getGossipEncryption(c *Config) any { return c.Mesh.GossipEncryption.String() }
