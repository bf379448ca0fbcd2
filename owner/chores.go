package owner

import "github.com/sgkandale/sharelock/owner/machine"

// A chore is work that is too much for one step. Each call of its step does a part, which touches
// at most [machine.StepEntries] entries, and returns how many it touched and whether it was the
// last part.
type chore struct {
	step func() (touched int, done bool)
	// end, if not nil, is called after the last step.
	end func()
}

// chore does about a step's worth of the chores.
func (sh *shard) chore() {
	for left := machine.StepEntries / 2; left > 0 && len(sh.chores) > 0; {
		c := sh.chores[0]
		sh.chores[0] = chore{}
		sh.chores = sh.chores[1:]
		touched, done := c.step()
		sh.most = max(sh.most, touched)
		left -= touched + 1
		switch {
		case !done: // behind the others
			sh.chores = append(sh.chores, c)
		case c.end != nil:
			c.end()
		}
	}
	if len(sh.chores) == 0 {
		sh.chores = nil
	}
}

// do adds a chore.
func (sh *shard) do(c chore) { sh.chores = append(sh.chores, c) }

// saw records how much the last step of a machine has touched, and returns the number of entries.
func (sh *shard) saw(m *machine.Machine) (touched int) {
	touched, size := m.Touched()
	sh.most, sh.mostBytes = max(sh.most, touched), max(sh.mostBytes, size)
	return touched
}

// unfinished reports whether the loop has something to do without waiting.
func (sh *shard) unfinished() bool { return len(sh.chores) > 0 || len(sh.touched) > 0 }
