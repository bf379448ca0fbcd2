// Package show prints the answers of a mesh for people: holds, keys, members, gossip keys, the
// history, events. Each function gets an answer as types of package sharelock and a writer, and
// decides nothing. With -o json, the commands print what the API sends instead.
package show
