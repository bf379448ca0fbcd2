// Package exit decides how the program ends. All commands use the same exit codes, and every
// error that ends the program passes through here:
//
//	Usagef, Failure   errors of a command itself
//	OfCall            an error of a client call, with the code that belongs to it
//	Error             the result: a code, a message and, if a signal ended the command, the signal
//
// The codes are part of what scripts rely on. They are those of sysexits.h where it has one, and
// those of shells for a command that could not be run or was ended by a signal.
package exit
