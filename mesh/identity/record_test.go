package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/internal/golden"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What a process keeps on disk.
func TestRecordsAreStable(t *testing.T) {
	var f golden.File
	f.Add("release", encodeRelease(1))
	id := ring.Identity{ID: "9f86d081884c7d65", Counter: 12, Nonce: 7}
	f.Add("identity", encodeIdentity(id))
	f.Add("promise", encodePromise(promiseRecord{clusterID: []byte("one"), founder: id}))
	f.Compare(t, "testdata/records.golden", *update)
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := promiseRecord{
			clusterID: rapid.SliceOfN(rapid.Byte(), 1, rules.MaxClusterID).Draw(t, "cluster"),
			founder:   ring.Identity{ID: rapid.String().Draw(t, "id"), Counter: rapid.Uint64().Draw(t, "counter"), Nonce: rapid.Uint64().Draw(t, "nonce")},
		}
		if len(p.founder.ID) > 500 {
			t.Skip("too long for a record")
		}
		b := encodePromise(p)
		got, err := decodePromise(b)
		if err != nil || !bytes.Equal(got.clusterID, p.clusterID) || got.founder != p.founder {
			t.Fatalf("%q decodes to %+v, %v", b, got, err)
		}
		// Any one changed byte is found.
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if got, err := decodePromise(b); !errors.Is(err, errDamaged) {
			t.Fatalf("damaged %q decodes to %+v, %v", b, got, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(string(encodeIdentity(ring.Identity{ID: "0123456789abcdef", Counter: 4})))
	f.Add(string(encodePromise(promiseRecord{clusterID: []byte("c"), founder: ring.Identity{ID: "f", Nonce: 1}})))
	f.Add("sharelock identity 1\nid 0123456789abcdef\ncounter 07\n")
	f.Add("crc32c 00000000\n")
	f.Fuzz(func(t *testing.T, text string) {
		// With the checksum of the fuzzer's choice, and with the right one.
		body, _, _ := strings.Cut(text, "crc32c ")
		for _, data := range [][]byte{[]byte(text), sumRecord(body)} {
			if id, counter, err := decodeIdentity(data); err == nil {
				if again := encodeIdentity(ring.Identity{ID: id, Counter: counter}); !bytes.Equal(again, data) {
					t.Errorf("identity %q encodes to %q", data, again)
				}
			} else if !refused(err) {
				t.Errorf("identity %q: %v", data, err)
			}
			if p, err := decodePromise(data); err == nil {
				if again := encodePromise(p); !bytes.Equal(again, data) {
					t.Errorf("promise %q encodes to %q", data, again)
				}
			} else if !refused(err) {
				t.Errorf("promise %q: %v", data, err)
			}
		}
	})
}

// refused reports whether a record is damaged, or of a release that this program does not know.
func refused(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, release.ErrNewer) || errors.Is(err, release.ErrOlder)
}

// sumRecord adds the right checksum.
func sumRecord(body string) []byte {
	sum := crc32c([]byte(body))
	return []byte(body + "crc32c " + hex.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}) + "\n")
}
