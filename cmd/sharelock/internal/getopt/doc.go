// Package getopt parses options as getopt_long(3) of GNU does, to the letter of its error messages:
// flock(1) uses that, and what stands in crontabs for it must mean the same here.
package getopt
