// Package auth authenticates callers and checks their permissions, as the auth file says.
//
// An [Authority] reads the file, follows its changes, and turns [Credentials] (a bearer token, a
// JWT, a verified certificate, or nothing) into an [Identity]: the name of a principal with its
// rules. A rule allows verbs on all keys with a prefix. No rule denies anything, so their order does
// not matter; they are compiled to sorted prefixes, and a check is a binary search.
//
// The package knows neither the mesh nor the protocols: package api asks it once per call, and looks
// at its sessions again when the file has changed.
package auth
