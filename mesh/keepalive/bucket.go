package keepalive

import "math"

// bucket is holds that are due together, those of a partition in a batch, since they make one
// request.
type bucket struct {
	// batches are by partition; order has the same, in no order.
	batches map[uint32]*batch
	order   []*batch
	holds   int
}

// batch is holds of one partition, in no order.
type batch struct {
	bucket    *bucket
	partition uint32
	list      []*kept
}

func (b *bucket) add(k *kept) {
	of := b.batches[k.partition]
	if of == nil {
		if b.batches == nil {
			b.batches = map[uint32]*batch{}
		}
		of = &batch{bucket: b, partition: k.partition}
		b.batches[k.partition] = of
		b.order = append(b.order, of)
	}
	k.batch, k.at = of, int32(len(of.list)&math.MaxInt32)
	of.list = append(of.list, k)
	b.holds++
}

// remove takes a hold out of where it waits, if it does.
func (k *kept) remove() {
	of := k.batch
	if of == nil {
		return
	}
	last := len(of.list) - 1
	moved := of.list[last]
	of.list[k.at], moved.at = moved, k.at
	of.list[last] = nil
	of.list = of.list[:last]
	k.batch = nil
	if of.bucket.holds--; of.bucket.holds == 0 {
		*of.bucket = bucket{}
	}
}

// take moves holds into a list until that has so many, one batch after the other.
func (b *bucket) take(into []*kept, most int) []*kept {
	for b.holds > 0 && len(into) < most {
		last := len(b.order) - 1
		of := b.order[last]
		if len(of.list) == 0 {
			delete(b.batches, of.partition)
			b.order[last] = nil
			b.order = b.order[:last]
			continue
		}
		k := of.list[len(of.list)-1]
		k.remove()
		into = append(into, k)
	}
	return into
}
