package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// WhoAmI prints who the caller is to a node, and what that principal may do.
func WhoAmI(w io.Writer, who *sharelockv1.WhoAmIResponse) error {
	if !who.GetAuthentication() {
		_, err := fmt.Fprintln(w, "the node does not authenticate its callers: everyone may do everything")
		return err
	}
	rows := [][]string{
		{"principal", text.Printable(who.GetPrincipal())},
		{"credential", text.Printable(strings.TrimSpace(who.GetCredential() + " " + who.GetCredentialId()))},
	}
	if end := who.GetExpiresIn(); end != nil {
		rows = append(rows, []string{"expires in", text.Short(end.AsDuration())})
	}
	for _, p := range who.GetPermissions() {
		keys := make([]string, len(p.GetKeys()))
		for i, prefix := range p.GetKeys() {
			if keys[i] = text.Printable(prefix) + "*"; prefix == "" {
				keys[i] = "every key"
			}
		}
		rows = append(rows, []string{"may " + text.Printable(p.GetVerb()), strings.Join(keys, ", ")})
	}
	if len(who.GetPermissions()) == 0 {
		rows = append(rows, []string{"may", "nothing"})
	}
	return text.Table(w, rows)
}
