// Package getopt parses options exactly as GNU's getopt_long(3) does, including its error messages.
// flock(1) uses that function, and options for it in crontabs must mean the same here.
package getopt
