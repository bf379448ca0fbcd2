package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/mesh/keyring"
)

// The word off of YAML 1.1 is off.
func TestGossipEncryptionSetting(t *testing.T) {
	for text, want := range map[string]keyring.Mode{"off": keyring.Off, `"off"`: keyring.Off, "migrate": keyring.Migrate, `""`: keyring.Auto} {
		settings, err := yamlSettings([]byte("mesh: {gossip_encryption: "+text+"}"), "x")
		if err != nil {
			t.Fatal(err)
		}
		c := Default()
		if err := c.apply(settings); err != nil || c.Mesh.GossipEncryption != want {
			t.Errorf("%s is %v, %v, want %v", text, c.Mesh.GossipEncryption, err, want)
		}
	}
	for _, bad := range []string{"on", "true", "1", "[off]"} {
		settings, err := yamlSettings([]byte("mesh: {gossip_encryption: "+bad+"}"), "x")
		if err != nil {
			t.Fatal(err)
		}
		c := Default()
		if err := c.apply(settings); err == nil || !slices.Contains(strings.Fields(err.Error()), "required,") {
			t.Errorf("%s is accepted, %v", bad, err)
		}
	}
}
