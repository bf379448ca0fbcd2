package compact

import (
	"encoding/binary"
	"fmt"

	"github.com/sgkandale/sharelock"
)

// textID names the text of a claim in a [texts]; 0 is none.
type TextID uint32

// texts keeps the key, the client id and the request id of every claim, each as
// one block of a few large pieces of memory, so that they cost their length and the
// garbage collector has nothing to look at. The zero value is empty.
//
// A block has a multiple of textUnit bytes and never grows. One that was given back
// is used again for the next text that needs as many.
type arena struct {
	chunks []*[chunkBytes]byte
	// end is how much of the last chunk has been handed out.
	end int
	// free has for each number of units the first block that was given back; its
	// first bytes are the textID of the next.
	free []TextID
	// used is the number of bytes in blocks that are in use.
	inUse int
}

const (
	chunkBytes = 2048
	unit       = 4
	chunkUnits = chunkBytes / unit
	// textHead are the lengths: two bytes for the key, one each for the ids.
	headBytes = 4
)

// The limits of package sharelock fit into the lengths, and a chunk holds all.
const (
	_ = uint16(sharelock.MaxKeyBytes)
	_ = uint8(sharelock.MaxClientIDBytes)
	_ = uint8(sharelock.MaxRequestIDBytes)
	_ = uint(chunkBytes - headBytes - sharelock.MaxKeyBytes - sharelock.MaxClientIDBytes - sharelock.MaxRequestIDBytes)
)

// put keeps a text. Its parts are within the limits of package sharelock.
func (t *arena) put(key, client, request string) TextID {
	id := t.block(unitsOf(len(key) + len(client) + len(request)))
	b := t.bytes(id)
	binary.LittleEndian.PutUint16(b, uint16(len(key)))
	b[2], b[3] = byte(len(client)), byte(len(request))
	n := headBytes + copy(b[headBytes:], key)
	n += copy(b[n:], client)
	copy(b[n:], request)
	return id
}

// copy keeps a text of another texts.
func (t *arena) copy(from *arena, id TextID) TextID {
	key, client, request := from.lengths(id)
	n := key + client + request
	to := t.block(unitsOf(n))
	copy(t.bytes(to), from.bytes(id)[:headBytes+n])
	return to
}

// textUnitsOf is the size of the block for so many bytes.
func unitsOf(n int) int { return (headBytes + n + unit - 1) / unit }

// block finds room.
func (t *arena) block(units int) TextID {
	t.inUse += units * unit
	if units < len(t.free) && t.free[units] != 0 {
		id := t.free[units]
		t.free[units] = t.nextFree(id)
		return id
	}
	if left := t.left(); left < units*unit {
		if left > 0 {
			t.release(t.last(), left/unit)
		}
		t.chunks, t.end = append(t.chunks, new([chunkBytes]byte)), 0
	}
	id := t.last()
	t.end += units * unit
	return id
}

// room is the number of bytes that there is memory for.
func (t *arena) room() int { return len(t.chunks) * chunkBytes }

// left is what has not been handed out of the last chunk.
func (t *arena) left() int {
	if len(t.chunks) == 0 {
		return 0
	}
	return chunkBytes - t.end
}

// nextFree is the free block of the same size behind a free one.
func (t *arena) nextFree(id TextID) TextID { return TextID(binary.LittleEndian.Uint32(t.bytes(id))) }

// last is the block that begins at end.
func (t *arena) last() TextID {
	return TextID((len(t.chunks)-1)*chunkUnits + t.end/unit + 1)
}

// release puts a block on the list of its size.
func (t *arena) release(id TextID, units int) {
	for len(t.free) <= units {
		t.free = append(t.free, 0)
	}
	binary.LittleEndian.PutUint32(t.bytes(id), uint32(t.free[units]))
	t.free[units] = id
}

// remove gives the block of a text back.
func (t *arena) remove(id TextID) {
	key, client, request := t.lengths(id)
	units := unitsOf(key + client + request)
	t.inUse -= units * unit
	t.release(id, units)
}

// bytes are the chunk from a block on.
func (t *arena) bytes(id TextID) []byte {
	at := uint(id) - 1
	return t.chunks[at/chunkUnits][at%chunkUnits*unit:]
}

// lengths are those of a text's parts.
func (t *arena) lengths(id TextID) (key, client, request int) { return lengthsOf(t.bytes(id)) }

func lengthsOf(b []byte) (key, client, request int) {
	return int(binary.LittleEndian.Uint16(b)), int(b[2]), int(b[3])
}

// get makes strings of a text.
func (t *arena) strings(id TextID) (key, client, request string) {
	b := t.bytes(id)
	k, c, r := lengthsOf(b)
	all := string(b[headBytes : headBytes+k+c+r])
	return all[:k], all[k : k+c], all[k+c:]
}

// parts are the bytes of a text; nobody may change or keep them.
func (t *arena) parts(id TextID) (key, client, request []byte) {
	b := t.bytes(id)
	k, c, r := lengthsOf(b)
	b = b[headBytes:]
	return b[:k], b[k : k+c], b[k+c : k+c+r]
}

// sparseChunks is the size from which a move is worth its price.
const sparseChunks = 2

// textStore is texts whose memory can be given back a part at a time: what is in use moves
// out of the texts that there were into new ones. The highest bit of a textID changes with
// each move, and says in which of the two a text is.
type Arena struct {
	arena
	// now is the highest bit of the ids of texts; those of old have the other.
	now TextID
	// old are the texts that are being left; nil when none are.
	old *arena
}

const otherHalf = 1 << 31

// half is where a text is.
func (s *Arena) half(id TextID) *arena {
	if id&otherHalf == s.now {
		return &s.arena
	}
	return s.old
}

func (s *Arena) Put(key, client, request string) TextID {
	return s.arena.put(key, client, request) | s.now
}

func (s *Arena) Remove(id TextID) { s.half(id).remove(id % otherHalf) }

func (s *Arena) Lengths(id TextID) (key, client, request int) {
	return s.half(id).lengths(id % otherHalf)
}

func (s *Arena) Strings(id TextID) (key, client, request string) {
	return s.half(id).strings(id % otherHalf)
}

func (s *Arena) Bytes(id TextID) (key, client, request []byte) {
	return s.half(id).parts(id % otherHalf)
}

// used is the number of bytes in use, room of those that there is memory for.
func (s *Arena) Used() int {
	if s.old == nil {
		return s.arena.inUse
	}
	return s.arena.inUse + s.old.inUse
}

func (s *Arena) Room() int {
	if s.old == nil {
		return s.arena.room()
	}
	return s.arena.room() + s.old.room()
}

// size returns the number of bytes that a text takes.
func (s *Arena) Size(id TextID) int {
	key, client, request := s.Lengths(id)
	return unitsOf(key+client+request) * unit
}

// sparse reports whether most of the memory is of no use, and at least that many bytes, so
// that it pays to move the texts.
func (s *Arena) Sparse(least int) bool {
	now := &s.arena
	return len(now.chunks) >= sparseChunks && now.inUse <= now.room()/4 && now.room() >= least
}

// moving reports whether texts are being left.
func (s *Arena) Moving() bool { return s.old != nil }

// endMove gives back the memory of the texts that were being left: all in use have moved.
func (s *Arena) EndMove() { s.old = nil }

// beginMove begins to move the texts; none are being left.
func (s *Arena) BeginMove() {
	old := s.arena
	s.arena, s.old, s.now = arena{}, &old, s.now^otherHalf
}

// move moves a text that is in use out of those that are being left, and returns where it is
// and how many bytes were moved.
func (s *Arena) Move(id TextID) (moved TextID, size int) {
	if id&otherHalf == s.now {
		return id, 0
	}
	old := id % otherHalf
	key, client, request := s.old.lengths(old)
	moved = s.arena.copy(s.old, old) | s.now
	s.old.remove(old)
	return moved, key + client + request
}

// check: every block is in use, or free, or was never handed out.
func (t *arena) check() error {
	free := 0
	for units, id := range t.free {
		for ; id != 0; id = t.nextFree(id) {
			if free += units * unit; free > t.room() {
				return fmt.Errorf("the free blocks of %d bytes go in a circle", units*unit)
			}
		}
	}
	if t.inUse+free+t.left() != t.room() {
		return fmt.Errorf("%d bytes in use, %d free and %d left are not %d", t.inUse, free, t.left(), t.room())
	}
	return nil
}

// check: both halves are right.
func (s *Arena) Check() error {
	if s.old != nil {
		if err := s.old.check(); err != nil {
			return err
		}
	}
	return s.arena.check()
}
