package auth

// Verb is what a rule allows on a key.
type Verb uint8

// The verbs.
const (
	// Acquire covers acquire, renew, release and giving up, and seeing who holds a key that could
	// not be acquired.
	Acquire Verb = 1 + iota
	// Read covers get, list, watch, checking a token, and what the mesh says of itself.
	Read
	// Force is taking a lock from its holder.
	Force
	// Admin covers what concerns a node or the mesh, not a key.
	Admin
)

// verbs are the names of the verbs in the auth file.
var verbs = [...]string{Acquire: "acquire", Read: "read", Force: "force", Admin: "admin"}

// String returns the name of the verb in the auth file; it is empty for 0, which is no verb.
func (v Verb) String() string {
	if int(v) < len(verbs) {
		return verbs[v]
	}
	return ""
}

// ParseVerb returns the verb with a name.
func ParseVerb(name string) (Verb, bool) {
	for v := Acquire; v <= Admin; v++ {
		if verbs[v] == name {
			return v, true
		}
	}
	return 0, false
}
