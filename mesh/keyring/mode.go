package keyring

import "fmt"

// Mode is how gossip is encrypted.
type Mode uint8

// The modes.
const (
	// Auto is Required with keys and Off without keys. It is resolved when a process starts.
	Auto Mode = iota
	// Off neither encrypts nor reads encrypted messages.
	Off
	// Migrate reads both, and encrypts messages to processes that can read them.
	Migrate
	// Required encrypts, and reads only encrypted messages.
	Required
)

var modeNames = [...]string{Auto: "", Off: "off", Migrate: "migrate", Required: "required"}

// ParseMode reads a mode as written in the configuration; empty means Auto.
func ParseMode(text string) (Mode, error) {
	for m, name := range modeNames {
		if name == text {
			return Mode(m), nil
		}
	}
	return Auto, fmt.Errorf("want required, migrate or off, got %q", text)
}

// String returns the mode as written in the configuration.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}
