//go:build release_next

package release

// Current is one more than the release of this program. The build tag release_next
// makes a program that stands for the next release in tests: it adds an operation, a
// Raft command and a field.
const Current = 3
