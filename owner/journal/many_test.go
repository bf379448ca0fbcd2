package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// many returns the number of holds in TestMany: SHARELOCK_HISTORY, or fewer by default.
func many(t *testing.T) int {
	text := os.Getenv("SHARELOCK_HISTORY")
	if text == "" {
		return 20000
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// After many holds, and after a crash, the journal returns the right holder for every time.
func TestMany(t *testing.T) {
	const keys, questions = 1000, 1000
	n, dir := many(t), t.TempDir()
	cfg := Config{Dir: dir, MaxBytes: 1 << 30, Keep: 24 * time.Hour}
	r := run(t, cfg)
	r.begin(1, Base{Owner: true})
	key := func(i int) string { return fmt.Sprint("key-", i%keys) }
	clock := time.Now().Add(-12 * time.Hour).UnixMicro()
	at := func(i int) int64 { return clock + int64(i)*1000 } // hold i lasts for half a millisecond
	for i := range n {
		r.at = at(i)
		r.decide(ops.Op{Kind: ops.Grant, Key: key(i), ClientID: fmt.Sprint("client-", i), RequestID: fmt.Sprint("r-", i), Token: token(i + 1), TTL: time.Minute})
		r.at += 500
		r.decide(ops.Op{Kind: ops.Release, Key: key(i), Token: token(i + 1), Why: ops.Released})
		if r.Flush(); i%1000 == 999 {
			r.search(Query{Key: "nobody's"}) // wait until everything is written
		}
	}
	r.stop()
	r = run(t, cfg)
	r.begin(2, Base{Seq: uint64(2 * n), From: 1, Owner: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	began := time.Now()
	for range questions {
		i := rnd.IntN(n)
		q := Query{Key: key(i), From: at(i) + 250, To: at(i) + 250, Limit: 100}
		q.Partition = 1
		h := Merge(q, []Part{r.search(q)}, nil, 2)
		if !h.Complete || len(h.Entries) != 1 || h.Entries[0].Token != token(i+1) || h.Entries[0].ClientID != fmt.Sprint("client-", i) || h.Entries[0].End != sharelock.EndReleased {
			t.Fatalf("hold %d: %+v", i, h)
		}
	}
	t.Logf("%d holds, %d bytes, %v for a question", n, r.Bytes(), time.Since(began)/questions)
}
