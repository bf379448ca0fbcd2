package show

import (
	"fmt"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// Event returns an event as a line for people.
func Event(e *sharelock.Event) string {
	words := []string{e.At.Local().Format("15:04:05.000"), fmt.Sprintf("%-10s", e.Type)}
	if e.Key != "" {
		words = append(words, text.Printable(e.Key))
	}
	if e.ClientID != "" {
		words = append(words, text.Printable(e.ClientID), mode(e.Mode, 0))
	}
	if e.Token != 0 {
		words = append(words, "token", e.Token.String())
	}
	if e.Waiters > 0 {
		words = append(words, fmt.Sprintf("%d waiting", e.Waiters))
	}
	if e.Reason != "" {
		words = append(words, "("+text.Printable(e.Reason)+")")
	}
	return strings.Join(words, " ")
}
