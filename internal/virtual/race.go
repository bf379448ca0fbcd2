//go:build race

package virtual

// raced: this is built with the race detector.
const raced = true
