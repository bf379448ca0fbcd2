// Package text formats what the program prints for people: tables, durations, errors, and text from
// others that may contain anything. It knows nothing of locks or meshes.
package text
