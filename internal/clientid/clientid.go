// Package clientid derives the default client id of a process.
package clientid

import (
	"os"
	"os/user"
	"strconv"
	"unicode/utf8"

	"github.com/sgkandale/sharelock"
)

// Default returns user@host:pid, cut to what a client id may be.
func Default() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	suffix := ":" + strconv.Itoa(os.Getpid())
	id := name + "@" + host
	if most := sharelock.MaxClientIDBytes - len(suffix); len(id) > most {
		id = id[:most]
		for !utf8.ValidString(id) && id != "" {
			id = id[:len(id)-1]
		}
	}
	return id + suffix
}
