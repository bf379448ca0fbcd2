package owner

import (
	"encoding/binary"

	"github.com/sgkandale/sharelock"
)

// textID names the text of a claim in a [texts]; 0 is none.
type textID uint32

// texts keeps the key, the client id and the request id of every claim, each as
// one block of a few large pieces of memory, so that they cost their length and the
// garbage collector has nothing to look at. The zero value is empty.
//
// A block has a multiple of textUnit bytes and never grows. One that was given back
// is used again for the next text that needs as many.
type texts struct {
	chunks []*[textChunk]byte
	// end is how much of the last chunk has been handed out.
	end int
	// free has for each number of units the first block that was given back; its
	// first bytes are the textID of the next.
	free []textID
	// used is the number of bytes in blocks that are in use.
	used int
}

const (
	textChunk = 2048
	textUnit  = 4
	textUnits = textChunk / textUnit
	// textHead are the lengths: two bytes for the key, one each for the ids.
	textHead = 4
)

// The limits of package sharelock fit into the lengths, and a chunk holds all.
const (
	_ = uint16(sharelock.MaxKeyBytes)
	_ = uint8(sharelock.MaxClientIDBytes)
	_ = uint8(sharelock.MaxRequestIDBytes)
	_ = uint(textChunk - textHead - sharelock.MaxKeyBytes - sharelock.MaxClientIDBytes - sharelock.MaxRequestIDBytes)
)

// put keeps a text. Its parts are within the limits of package sharelock.
func (t *texts) put(key, client, request string) textID {
	id := t.block(textUnitsOf(len(key) + len(client) + len(request)))
	b := t.bytes(id)
	binary.LittleEndian.PutUint16(b, uint16(len(key)))
	b[2], b[3] = byte(len(client)), byte(len(request))
	n := textHead + copy(b[textHead:], key)
	n += copy(b[n:], client)
	copy(b[n:], request)
	return id
}

// copy keeps a text of another texts.
func (t *texts) copy(from *texts, id textID) textID {
	key, client, request := from.lengths(id)
	n := key + client + request
	to := t.block(textUnitsOf(n))
	copy(t.bytes(to), from.bytes(id)[:textHead+n])
	return to
}

// textUnitsOf is the size of the block for so many bytes.
func textUnitsOf(n int) int { return (textHead + n + textUnit - 1) / textUnit }

// block finds room.
func (t *texts) block(units int) textID {
	t.used += units * textUnit
	if units < len(t.free) && t.free[units] != 0 {
		id := t.free[units]
		t.free[units] = t.nextFree(id)
		return id
	}
	if left := t.left(); left < units*textUnit {
		if left > 0 {
			t.release(t.last(), left/textUnit)
		}
		t.chunks, t.end = append(t.chunks, new([textChunk]byte)), 0
	}
	id := t.last()
	t.end += units * textUnit
	return id
}

// room is the number of bytes that there is memory for.
func (t *texts) room() int { return len(t.chunks) * textChunk }

// left is what has not been handed out of the last chunk.
func (t *texts) left() int {
	if len(t.chunks) == 0 {
		return 0
	}
	return textChunk - t.end
}

// nextFree is the free block of the same size behind a free one.
func (t *texts) nextFree(id textID) textID { return textID(binary.LittleEndian.Uint32(t.bytes(id))) }

// last is the block that begins at end.
func (t *texts) last() textID {
	return textID((len(t.chunks)-1)*textUnits + t.end/textUnit + 1)
}

// release puts a block on the list of its size.
func (t *texts) release(id textID, units int) {
	for len(t.free) <= units {
		t.free = append(t.free, 0)
	}
	binary.LittleEndian.PutUint32(t.bytes(id), uint32(t.free[units]))
	t.free[units] = id
}

// remove gives the block of a text back.
func (t *texts) remove(id textID) {
	key, client, request := t.lengths(id)
	units := textUnitsOf(key + client + request)
	t.used -= units * textUnit
	t.release(id, units)
}

// bytes are the chunk from a block on.
func (t *texts) bytes(id textID) []byte {
	at := uint(id) - 1
	return t.chunks[at/textUnits][at%textUnits*textUnit:]
}

// lengths are those of a text's parts.
func (t *texts) lengths(id textID) (key, client, request int) { return textLengths(t.bytes(id)) }

func textLengths(b []byte) (key, client, request int) {
	return int(binary.LittleEndian.Uint16(b)), int(b[2]), int(b[3])
}

// get makes strings of a text.
func (t *texts) get(id textID) (key, client, request string) {
	b := t.bytes(id)
	k, c, r := textLengths(b)
	all := string(b[textHead : textHead+k+c+r])
	return all[:k], all[k : k+c], all[k+c:]
}

// parts are the bytes of a text; nobody may change or keep them.
func (t *texts) parts(id textID) (key, client, request []byte) {
	b := t.bytes(id)
	k, c, r := textLengths(b)
	b = b[textHead:]
	return b[:k], b[k : k+c], b[k+c : k+c+r]
}

// sparse: most of the memory is of no use, so that it pays to move what is left.
func (t *texts) sparse() bool {
	return len(t.chunks) >= sparseChunks && t.used <= t.room()/4
}

// textWorth is how many bytes are worth the move of a claim.
const textWorth = 16

// sparseChunks is the size from which a move is worth its price.
const sparseChunks = 2

// textStore is texts whose memory can be given back a part at a time: what is in use moves
// out of the texts that there were into new ones. The highest bit of a textID changes with
// each move, and says in which of the two a text is.
type textStore struct {
	texts
	// now is the highest bit of the ids of texts; those of old have the other.
	now textID
	// old are the texts that are being left; nil when none are.
	old *texts
}

const otherHalf = 1 << 31

// half is where a text is.
func (s *textStore) half(id textID) *texts {
	if id&otherHalf == s.now {
		return &s.texts
	}
	return s.old
}

func (s *textStore) put(key, client, request string) textID {
	return s.texts.put(key, client, request) | s.now
}

func (s *textStore) remove(id textID) { s.half(id).remove(id % otherHalf) }

func (s *textStore) lengths(id textID) (key, client, request int) {
	return s.half(id).lengths(id % otherHalf)
}

func (s *textStore) get(id textID) (key, client, request string) {
	return s.half(id).get(id % otherHalf)
}

func (s *textStore) parts(id textID) (key, client, request []byte) {
	return s.half(id).parts(id % otherHalf)
}

// used is the number of bytes in use, room of those that there is memory for.
func (s *textStore) used() int {
	if s.old == nil {
		return s.texts.used
	}
	return s.texts.used + s.old.used
}

func (s *textStore) room() int {
	if s.old == nil {
		return s.texts.room()
	}
	return s.texts.room() + s.old.room()
}

// leave begins to move the texts; none are being left.
func (s *textStore) leave() {
	old := s.texts
	s.texts, s.old, s.now = texts{}, &old, s.now^otherHalf
}

// move moves a text that is in use out of those that are being left, and returns where it is
// and how many bytes were moved.
func (s *textStore) move(id textID) (moved textID, size int) {
	if id&otherHalf == s.now {
		return id, 0
	}
	old := id % otherHalf
	key, client, request := s.old.lengths(old)
	moved = s.texts.copy(s.old, old) | s.now
	s.old.remove(old)
	return moved, key + client + request
}
