// Package keyring keeps the gossip keys of a process: AES-256 keys, of which the first, the
// primary, encrypts what the process sends, while each of them decrypts what it receives.
//
// [Keys] is the ring of one process. It comes from one of two places. If the configuration names
// a keys file, the file is authoritative: it is read again when it has changed, and nothing else
// changes the ring. Otherwise the ring is in the data directory (keyring.json), and commands
// change it.
//
// [Mesh] changes the rings of all members of the view together, from any member. A step is done
// when every member has stored it. A step that failed can be repeated.
//
// The package never writes a key into a log or an error. A [Key] prints as its fingerprint, and
// only [Key.Text] returns the key itself.
package keyring
