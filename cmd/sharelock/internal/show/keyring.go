package show

import (
	"fmt"
	"io"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/mesh/keyring"
)

// Keyring prints how many members have each key, as in [3/3], and the members. With
// secrets set it prints the keys themselves, too.
func Keyring(w io.Writer, k sharelock.Keyring, secrets bool) error {
	count := func(n int) string {
		if n == 0 {
			return text.OrNone("")
		}
		return fmt.Sprintf("[%d/%d]", n, len(k.Members))
	}
	rows := [][]string{{"KEY", "INSTALLED", "PRIMARY"}}
	if secrets {
		rows[0] = append(rows[0], "SECRET")
	}
	for _, key := range k.Keys {
		row := []string{text.Printable(key.Fingerprint), count(key.Installed), count(key.Primary)}
		if secrets {
			row = append(row, text.OrNone(key.Key))
		}
		rows = append(rows, row)
	}
	if err := text.Table(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"MEMBER", "ENCRYPTION", "KEYS"}}
	for _, m := range k.Members {
		from := "data directory"
		switch {
		case m.Err != "":
			from = "no answer: " + text.Printable(m.Err)
		case m.FromFile:
			from = "mesh.gossip_keys_file"
		case m.Encryption == keyring.Off.String():
			from = text.OrNone("")
		}
		rows = append(rows, []string{text.OrNone(m.Name), text.OrNone(m.Encryption), from})
	}
	return text.Table(w, rows)
}
