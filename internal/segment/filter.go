package segment

// maxFilter is the size of the largest filter. With more hashes, more other hashes pass it.
const maxFilter = 8 << 10

// bitsPerHash makes a filter let about 1 % of the hashes pass that are not in it.
const bitsPerHash = 10

// probes is the number of bits of each hash.
const probes = 5

// A filter is a Bloom filter whose length is a power of two. An empty filter lets nothing pass.
type filter []byte

func newFilter(hashes []uint64) filter {
	if len(hashes) == 0 {
		return nil
	}
	size := 1
	for size < maxFilter && size*8 < len(hashes)*bitsPerHash {
		size *= 2
	}
	f := make(filter, size)
	mask := uint64(size)*8 - 1
	for _, h := range hashes {
		step := h>>32 | 1
		for range probes {
			f[(h&mask)/8] |= 1 << (h & 7)
			h += step
		}
	}
	return f
}

// has reports whether a hash may be in the filter.
func (f filter) has(h uint64) bool {
	if len(f) == 0 {
		return false
	}
	mask, step := uint64(len(f))*8-1, h>>32|1
	for range probes {
		if f[(h&mask)/8]&(1<<(h&7)) == 0 {
			return false
		}
		h += step
	}
	return true
}
