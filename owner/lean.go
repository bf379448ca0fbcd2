package owner

// lean is a map that gives its memory back. Go's maps keep the room of their
// largest moment for ever; a partition that once had a hundred thousand keys
// would pay for them until its node stops. The zero value is empty.
type lean[K comparable, V any] struct {
	m map[K]V
	// most is the length at the largest moment since m was made.
	most int
}

// leanFrom is the size from which a rebuild is worth its price.
const leanFrom = 64

func (l *lean[K, V]) len() int { return len(l.m) }

func (l *lean[K, V]) get(k K) (V, bool) {
	v, ok := l.m[k]
	return v, ok
}

func (l *lean[K, V]) put(k K, v V) {
	if l.m == nil {
		l.m = make(map[K]V)
	}
	l.m[k] = v
	l.most = max(l.most, len(l.m))
}

// delete removes k. When an eighth is left it rebuilds the map, at a price that
// the deletes before have paid for.
func (l *lean[K, V]) delete(k K) {
	delete(l.m, k)
	if l.most < leanFrom || len(l.m) > l.most/8 {
		return
	}
	small := make(map[K]V, len(l.m))
	for k, v := range l.m {
		small[k] = v
	}
	l.m, l.most = small, len(small)
}
