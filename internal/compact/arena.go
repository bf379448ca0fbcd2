package compact

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sgkandale/sharelock"
)

// A TextID names a text in an [Arena]. 0 is none.
type TextID uint32

// An arena keeps texts, each of which is the key, the client id and the request id of one claim. A
// text is a block in one of a few large chunks of memory, so it costs little more than its length,
// and the garbage collector has nothing to look at. The zero value is empty.
//
// A block has a multiple of unit bytes and never grows. A free block is used again for the next
// text of the same size.
type arena struct {
	chunks []*[chunkBytes]byte
	// end is the number of bytes of the last chunk that have been allocated.
	end int
	// free has for each number of units the first free block. Its first bytes are the TextID of the
	// next.
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

// The limits of package sharelock fit into the lengths, and the longest text fits into a chunk.
const (
	_ = uint16(sharelock.MaxKeyBytes)
	_ = uint8(sharelock.MaxClientIDBytes)
	_ = uint8(sharelock.MaxRequestIDBytes)
	_ = uint(chunkBytes - headBytes - sharelock.MaxKeyBytes - sharelock.MaxClientIDBytes - sharelock.MaxRequestIDBytes)
)

// put stores a text. Its parts must be within the limits of package sharelock.
func (t *arena) put(key, client, request string) TextID {
	id := t.block(unitsOf(len(key) + len(client) + len(request)))
	b := t.bytes(id)
	binary.LittleEndian.PutUint16(b, uint16(len(key)&math.MaxUint16))
	b[2], b[3] = byte(len(client)&math.MaxUint8), byte(len(request)&math.MaxUint8)
	n := headBytes + copy(b[headBytes:], key)
	n += copy(b[n:], client)
	copy(b[n:], request)
	return id
}

// copy stores a text of another arena.
func (t *arena) copy(from *arena, id TextID) TextID {
	key, client, request := from.lengths(id)
	n := key + client + request
	to := t.block(unitsOf(n))
	copy(t.bytes(to), from.bytes(id)[:headBytes+n])
	return to
}

// textUnitsOf is the size of the block for so many bytes.
func unitsOf(n int) int { return (headBytes + n + unit - 1) / unit }

// block allocates a block.
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

// room returns the number of bytes that there is memory for.
func (t *arena) room() int { return len(t.chunks) * chunkBytes }

// left returns the number of bytes of the last chunk that have not been allocated.
func (t *arena) left() int {
	if len(t.chunks) == 0 {
		return 0
	}
	return chunkBytes - t.end
}

// nextFree returns the next free block of the same size after a free one.
func (t *arena) nextFree(id TextID) TextID { return TextID(binary.LittleEndian.Uint32(t.bytes(id))) }

// last returns the block that begins at end.
func (t *arena) last() TextID {
	return TextID((len(t.chunks)-1)*chunkUnits + t.end/unit + 1)
}

// release puts a block on the free list of its size.
func (t *arena) release(id TextID, units int) {
	for len(t.free) <= units {
		t.free = append(t.free, 0)
	}
	binary.LittleEndian.PutUint32(t.bytes(id), uint32(t.free[units]))
	t.free[units] = id
}

// remove frees the block of a text.
func (t *arena) remove(id TextID) {
	key, client, request := t.lengths(id)
	units := unitsOf(key + client + request)
	t.inUse -= units * unit
	t.release(id, units)
}

// bytes returns the chunk from a block on.
func (t *arena) bytes(id TextID) []byte {
	at := uint(id) - 1
	return t.chunks[at/chunkUnits][at%chunkUnits*unit:]
}

// lengths returns the lengths of the parts of a text.
func (t *arena) lengths(id TextID) (key, client, request int) { return lengthsOf(t.bytes(id)) }

func lengthsOf(b []byte) (key, client, request int) {
	return int(binary.LittleEndian.Uint16(b)), int(b[2]), int(b[3])
}

// strings returns a text as strings.
func (t *arena) strings(id TextID) (key, client, request string) {
	b := t.bytes(id)
	k, c, r := lengthsOf(b)
	all := string(b[headBytes : headBytes+k+c+r])
	return all[:k], all[k : k+c], all[k+c:]
}

// parts returns the bytes of a text, which must not be changed or kept.
func (t *arena) parts(id TextID) (key, client, request []byte) {
	b := t.bytes(id)
	k, c, r := lengthsOf(b)
	b = b[headBytes:]
	return b[:k], b[k : k+c], b[k+c : k+c+r]
}

// sparseChunks is the number of chunks from which a move is worth its cost.
const sparseChunks = 2

// An Arena keeps the texts of claims: for each its key, client id and request id. When most of its
// memory is unused, the texts can move, a part at a time, into a new arena. The highest bit of a
// TextID changes with each move and says in which of the two arenas the text is. The zero value is
// empty.
type Arena struct {
	arena
	// now is the highest bit of the TextIDs of texts that do not have to move. Those in old have
	// the other.
	now TextID
	// old is the arena out of which texts are moving; nil if there is no move.
	old *arena
}

const otherHalf = 1 << 31

// half returns the arena that has a text.
func (s *Arena) half(id TextID) *arena {
	if id&otherHalf == s.now {
		return &s.arena
	}
	return s.old
}

// Put stores a text. Its parts must be within the limits of package sharelock.
func (s *Arena) Put(key, client, request string) TextID {
	return s.arena.put(key, client, request) | s.now
}

// Remove frees a text.
func (s *Arena) Remove(id TextID) { s.half(id).remove(id % otherHalf) }

// Lengths returns the lengths of the parts of a text.
func (s *Arena) Lengths(id TextID) (key, client, request int) {
	return s.half(id).lengths(id % otherHalf)
}

// Strings returns a text as strings.
func (s *Arena) Strings(id TextID) (key, client, request string) {
	return s.half(id).strings(id % otherHalf)
}

// Bytes returns the bytes of a text, which must not be changed or kept.
func (s *Arena) Bytes(id TextID) (key, client, request []byte) {
	return s.half(id).parts(id % otherHalf)
}

// Used returns the number of bytes in use.
func (s *Arena) Used() int {
	if s.old == nil {
		return s.arena.inUse
	}
	return s.arena.inUse + s.old.inUse
}

// Room returns the number of bytes that there is memory for.
func (s *Arena) Room() int {
	if s.old == nil {
		return s.arena.room()
	}
	return s.arena.room() + s.old.room()
}

// Size returns the number of bytes that a text takes.
func (s *Arena) Size(id TextID) int {
	key, client, request := s.Lengths(id)
	return unitsOf(key+client+request) * unit
}

// Sparse reports whether it pays to move the texts: at most a quarter of the memory is in use, and
// there are at least that many bytes of it.
func (s *Arena) Sparse(least int) bool {
	now := &s.arena
	return len(now.chunks) >= sparseChunks && now.inUse <= now.room()/4 && now.room() >= least
}

// Moving reports whether texts are moving.
func (s *Arena) Moving() bool { return s.old != nil }

// EndMove ends a move in which all texts have moved, and frees the old memory.
func (s *Arena) EndMove() { s.old = nil }

// BeginMove begins a move. There must not be one already.
func (s *Arena) BeginMove() {
	old := s.arena
	s.arena, s.old, s.now = arena{}, &old, s.now^otherHalf
}

// Move moves a text into the new arena, unless that has been done, and returns its new TextID and
// the number of bytes that were moved.
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

// check returns an error unless every block is in use, or free, or was never allocated.
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

// Check returns an error if a block of either arena was lost or is free twice.
func (s *Arena) Check() error {
	if s.old != nil {
		if err := s.old.check(); err != nil {
			return err
		}
	}
	return s.arena.check()
}
