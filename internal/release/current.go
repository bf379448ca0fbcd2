//go:build !release_next

package release

// Current is the release of this program.
const Current = 2
