// Package show prints the answers of a mesh for people: holds, keys, members, keys of gossip, the
// history, events. Each function gets an answer in the words of package sharelock and a writer, and
// decides nothing. What the API sends is printed by -o json instead.
package show
