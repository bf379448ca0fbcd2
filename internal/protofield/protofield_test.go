package protofield

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// Written fields are read again, whatever the length of numbers, strings and messages.
func TestFields(t *testing.T) {
	for _, num := range []protowire.Number{1, 15, 16, 1 << 20} {
		for _, n := range []int{1, 127, 128, 300, 20000} {
			s := strings.Repeat("x", n)
			b, at := Open([]byte("before"), num)
			b = AppendUint(b, num, uint64(n))
			b = AppendString(b, num+1, s)
			b = AppendUint(b, num, 0)    // nothing
			b = AppendString(b, num, "") // nothing
			b = Shut(b, at)
			b = AppendUint(b, 3, 1<<63)
			rest, ok := bytes.CutPrefix(b, []byte("before"))
			if !ok {
				t.Fatal("what was there is gone")
			}
			outer, err := Next(&rest)
			if err != nil || outer.Num != num || outer.Typ != protowire.BytesType {
				t.Fatalf("%d, %d: got %+v, %v", num, n, outer, err)
			}
			for _, want := range []Field{
				{num, protowire.VarintType, uint64(n), nil}, {num + 1, protowire.BytesType, 0, []byte(s)},
			} {
				f, err := Next(&outer.B)
				if err != nil || f.Num != want.Num || f.Typ != want.Typ || f.V != want.V || !bytes.Equal(f.B, want.B) {
					t.Errorf("got %+v, %v, want %+v", f, err, want)
				}
			}
			if f, err := Next(&rest); err != nil || f.V != 1<<63 || len(outer.B)+len(rest) != 0 {
				t.Errorf("got %+v, %v, and %d + %d bytes more", f, err, len(outer.B), len(rest))
			}
		}
	}
}

// Fields of other types are skipped. Bytes that are not a field are an error, and are not consumed.
func TestOthersAndMalformed(t *testing.T) {
	other := protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 7)
	other = protowire.AppendFixed32(protowire.AppendTag(other, 9, protowire.Fixed32Type), 7)
	for _, num := range []protowire.Number{2, 9} {
		if f, err := Next(&other); err != nil || f.Num != num || f.Typ != Other {
			t.Errorf("got %+v, %v", f, err)
		}
	}
	for _, bad := range []string{
		"\x08", "\x0a", "\x0a\x05abcd", "\x00\x01", "\x02\x00", "\x0f\x01", "\x08\x80", "\x80", "\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01x", "\x0b\x0d",
	} {
		rest := []byte(bad)
		if f, err := Next(&rest); !errors.Is(err, ErrMalformed) || string(rest) != bad {
			t.Errorf("%q: got %+v, %v, %q left", bad, f, err, rest)
		}
	}
}

// Numbers are read as by generated code, except that a kind that does not fit becomes an unknown one.
func TestNumbers(t *testing.T) {
	for _, v := range []uint64{0, 1, 255, 256, 1<<31 + 1, 1<<32 + 1, 1<<63 + 1, math.MaxUint64} {
		f := Field{V: v}
		if got, want := f.Uint8(), min(v, math.MaxUint8); uint64(got) != want {
			t.Errorf("%#x is kind %d, want %d", v, got, want)
		}
		if f.Uint32() != uint32(v) || f.Int32() != int32(v) || f.Int64() != int64(v) || int64(f.Nanoseconds()) != int64(v) {
			t.Errorf("%#x is %d, %d, %d, %d", v, f.Uint32(), f.Int32(), f.Int64(), f.Nanoseconds())
		}
		if got, want := AppendInt(nil, 1, int64(v)), AppendUint(nil, 1, v); !bytes.Equal(got, want) {
			t.Errorf("%#x is written as %x, want %x", v, got, want)
		}
	}
}

// FuzzNext: the fast path returns the same as the slow one.
func FuzzNext(f *testing.F) {
	f.Add([]byte("\x08\x01\x12\x03abc\x1d\x00\x00\x00\x00"))
	f.Add([]byte("\x08\xff\x01\x82\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		short, long := data, data
		for len(short) > 0 {
			a, errA := Next(&short)
			b, errB := next(&long)
			if a.Num != b.Num || a.Typ != b.Typ || a.V != b.V || !bytes.Equal(a.B, b.B) || !errors.Is(errA, errB) || len(short) != len(long) {
				t.Fatalf("%q: %+v, %v, %d left; by the long way %+v, %v, %d left", data, a, errA, len(short), b, errB, len(long))
			}
			if errA != nil {
				return
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	var message []byte
	message = AppendUint(message, 1, 77)
	message = AppendString(message, 2, "orders/0000000042")
	message = AppendUint(message, 3, 59712345<<32)
	b.ReportAllocs()
	for b.Loop() {
		for rest := message; len(rest) > 0; {
			if _, err := Next(&rest); err != nil {
				b.Fatal(err)
			}
		}
	}
}
