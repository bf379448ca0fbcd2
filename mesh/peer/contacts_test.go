package peer

import (
	"strings"
	"testing"
	"time"
)

// Only the last successful call of each process counts, and the process with the oldest one is
// forgotten when there are too many.
func TestContacts(t *testing.T) {
	var c Contacts
	c.Note("a", 5)
	if !c.Since("a", 5) || c.Since("a", 6) || c.Since("b", 0) {
		t.Error("a call at 5 does not count from 5, or counts from 6")
	}
	for i := range 2 * maxContacts {
		c.Note(strings.Repeat("x", i), time.Duration(10+i))
	}
	if len(c.at) > maxContacts {
		t.Errorf("%d processes are remembered, the most is %d", len(c.at), maxContacts)
	}
	if c.Since("a", 0) {
		t.Error("the oldest was not forgotten")
	}
}
