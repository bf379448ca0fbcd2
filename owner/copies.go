package owner

import (
	"sync"

	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// Ask returns what this member holds of the partitions, for the activation of another member. It
// fails with [ErrBehind] unless epoch is the current one. So the other member knows that nothing
// older is served here any more (A1).
func (s *Service) Ask(epoch uint32, partitions []uint32) ([]Held, error) {
	want := make(map[uint32]bool, len(partitions))
	for _, p := range partitions {
		want[p] = true
	}
	var mu sync.Mutex
	var held []Held
	behind := false
	s.everyShard(func(sh *shard) {
		mu.Lock()
		defer mu.Unlock()
		if sh.epoch != epoch {
			behind = true
			return
		}
		sh.held(func(h Held) {
			if want[h.Partition] {
				held = append(held, h)
			}
		})
	})
	select {
	case <-s.stop:
		// A loop that has ended reports no copies. The other member must not take that for evidence
		// that there were none (section 4.2).
		behind = true
	default:
	}
	if behind || s.cur.Load() != epoch {
		return nil, ErrBehind
	}
	return held, nil
}

// Fetch reads the next pieces of copies for the partitions' new owner, each in steps of its shard's
// turns. It returns pieces for the first of wants, as many as fit into [MaxBytes]. A copy that
// cannot be read does not affect the others. It fails with [ErrBehind] in any other epoch (A1).
func (s *Service) Fetch(epoch uint32, wants []Want) ([]Piece, error) {
	if s.cur.Load() != epoch {
		return nil, ErrBehind
	}
	var pieces []Piece
	for size := 0; len(pieces) < min(len(wants), MaxBatch) && size <= MaxBytes-machine.StepBytes; {
		// If there are few copies, each may fill its share of the message in several steps, so
		// that not every step takes a round trip.
		piece, err := s.fetch(epoch, wants[len(pieces)], min(MaxBytes/len(wants), MaxBytes-size))
		if err != nil {
			return nil, err
		}
		size += len(piece.Data)
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// fetch reads the next piece of a copy. It does one step, and further ones while the piece stays
// within most bytes.
func (s *Service) fetch(epoch uint32, w Want, most int) (piece Piece, err error) {
	piece = Piece{Partition: w.Partition, Position: w.Position}
	for first := true; !piece.Last && (first || len(piece.Data) <= most-machine.StepBytes); first = false {
		var data []byte
		missing := true
		ok := int(w.Partition) >= s.partitions || s.inShard(w.Partition, func(sh *shard, p *partition) {
			if sh.epoch != epoch || p.m == nil || p.active || p.have != w.Have || p.m.Seq() != w.Seq {
				return
			}
			missing = false
			data, piece.Position, piece.Last, err = p.m.Piece(s.clock(), piece.Position, nil)
			sh.saw(p.m)
		})
		switch {
		case !ok || s.cur.Load() != epoch:
			return Piece{}, ErrBehind
		case missing:
			return Piece{Partition: w.Partition, Missing: true}, nil
		case err != nil: // of this copy only
			return Piece{Partition: w.Partition, Why: err.Error()}, nil
		}
		piece.Data = appendPiece(piece.Data, data, most)
	}
	return piece, nil
}

// Active drops copies that are older than epoch, of partitions that are active in it (G1). Copies
// that this member serves itself are never older.
func (s *Service) Active(epoch uint32, partitions []uint32) error {
	if s.cur.Load() != epoch {
		return ErrBehind
	}
	var wg sync.WaitGroup
	for _, id := range partitions {
		if int(id) >= s.partitions {
			continue
		}
		sh := s.shard(id)
		wg.Add(1)
		if !sh.put(item{fn: func(*shard) {
			defer wg.Done()
			if p := sh.part(id); p.m != nil && p.have < epoch && !p.active {
				sh.replace(p, nil, 0)
			}
		}}) {
			wg.Done()
		}
	}
	wg.Wait()
	for _, id := range partitions {
		if int(id) < s.partitions {
			s.note(id, epoch)
		}
	}
	s.touch()
	return nil
}

// note records the latest epoch in which a partition is known to be active.
func (s *Service) note(id, epoch uint32) {
	for {
		old := s.told[id].Load()
		if epoch <= old || s.told[id].CompareAndSwap(old, epoch) {
			return
		}
	}
}

// Told returns the number of partitions of which this member was told (G1) in the given epoch or a
// later one. A leaving member may go when it was told of all (V6a, V7). It is not enough that it
// holds no copy, because it may be the last witness of section 4.2.
func (s *Service) Told(since uint32) int {
	n := 0
	for i := range s.told {
		if s.told[i].Load() >= since {
			n++
		}
	}
	return n
}

// maxRings bounds the rings of earlier views, which are needed to choose copies.
const maxRings = ring.MaxHistory

// A ringCache builds the ring of each view of the history once.
type ringCache struct {
	partitions int
	mu         sync.Mutex
	// rings by epoch. Guarded by mu.
	rings map[uint32]*ring.Ring
}

func newRingCache(partitions int) *ringCache {
	return &ringCache{partitions: partitions, rings: map[uint32]*ring.Ring{}}
}

// of returns the ring of a view.
func (c *ringCache) of(v ring.View) (*ring.Ring, error) {
	c.mu.Lock()
	r := c.rings[v.Epoch]
	c.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := ring.Build(v, c.partitions)
	if err != nil {
		return nil, err
	}
	c.add(r)
	return r, nil
}

// add keeps a ring and forgets the oldest beyond maxRings.
func (c *ringCache) add(r *ring.Ring) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rings[r.Epoch()] = r
	for len(c.rings) > maxRings {
		oldest := r.Epoch()
		for e := range c.rings {
			oldest = min(oldest, e)
		}
		delete(c.rings, oldest)
	}
}
