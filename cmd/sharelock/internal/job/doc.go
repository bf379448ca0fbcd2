// Package job runs a command under a lock: CMD of "sharelock lock" and "sharelock flock".
//
// The promise is that CMD behaves as it would without sharelock, and does not outlive the lock. Both
// must hold although this process may be killed, stopped, suspended or starved at any moment:
//
//	Command.Run   finds CMD, starts the sentinel, waits for the lock, and runs CMD
//	guard         waits for CMD, and ends it before the lock can be lost
//	sentinel      a second process that kills CMD's process group when this process cannot
//	launch        holds CMD back until the sentinel knows its process group
//	relay         forwards each signal to CMD once, also if CMD has received it directly
//	job           CMD's process group: job control and the terminal
//	Children      reaps the processes that nobody else waits for
//
// The lock is anything that implements [Lock]. The package uses the mesh through two functions: one
// dials it, the other acquires. Process groups, the sentinel and job control exist on Linux only;
// elsewhere CMD is a plain child.
//
// The sentinel and the launcher are the same program, started with hidden commands: the program must
// call [RunHidden] before anything else.
package job
