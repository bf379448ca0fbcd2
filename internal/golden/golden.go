// Package golden compares the bytes of the wire and disk formats with files, for tests. A golden
// file holds what other programs of this release write and read.
package golden

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sgkandale/sharelock/internal/release"
)

// T is the part of testing.TB that a golden file needs.
type T interface {
	Helper()
	Errorf(format string, args ...any)
}

// File collects named samples.
type File struct{ b strings.Builder }

// Add adds the bytes of one sample.
func (f *File) Add(name string, data []byte) { fmt.Fprintf(&f.b, "%s\n%x\n", name, data) }

// AddMessages adds a sample of every message of a .proto file with every field set: one sample
// for each choice of a oneof.
func (f *File) AddMessages(file protoreflect.FileDescriptor) error {
	return f.addMessages(file.Messages())
}

func (f *File) addMessages(list protoreflect.MessageDescriptors) error {
	for i := range list.Len() {
		d := list.Get(i)
		if d.IsMapEntry() {
			continue
		}
		choices := 1
		for j := range d.Oneofs().Len() {
			if o := d.Oneofs().Get(j); !o.IsSynthetic() {
				choices = max(choices, o.Fields().Len())
			}
		}
		for choice := range choices {
			m := dynamicpb.NewMessage(d)
			fill(m, choice, 0)
			data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				return err
			}
			name := string(d.FullName())
			if choices > 1 {
				name += fmt.Sprintf(" (choice %d)", choice)
			}
			f.Add(name, data)
		}
		if err := f.addMessages(d.Messages()); err != nil {
			return err
		}
	}
	return nil
}

// deepest is the depth to which nested messages are filled.
const deepest = 4

// fill sets every field to a value that depends on the field. choice selects the field of each oneof.
func fill(m protoreflect.Message, choice, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() && o.Fields().Get(choice%o.Fields().Len()) != f {
			continue
		}
		switch {
		case f.IsMap():
			e := m.Mutable(f).Map()
			key := scalar(f.MapKey()).MapKey()
			if f.MapValue().Message() == nil {
				e.Set(key, scalar(f.MapValue()))
			} else if v := e.NewValue(); depth < deepest {
				fill(v.Message(), choice, depth+1)
				e.Set(key, v)
			}
		case f.IsList() && f.Message() != nil:
			if v := m.Mutable(f).List(); depth < deepest {
				fill(v.AppendMutable().Message(), choice, depth+1)
			}
		case f.IsList():
			v := m.Mutable(f).List()
			v.Append(scalar(f))
			v.Append(scalar(f))
		case f.Message() != nil:
			if depth < deepest {
				fill(m.Mutable(f).Message(), choice, depth+1)
			}
		default:
			m.Set(f, scalar(f))
		}
	}
}

// scalar returns a value made of a field's number and name.
func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := int64(f.Number())
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n << 32)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n) << 32)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.Name()))
	default:
		return protoreflect.ValueOfString(string(f.Name()))
	}
}

// Compare compares the samples with a file, byte for byte. If update is set, it rewrites the file instead.
func (f *File) Compare(t T, path string, update bool) {
	t.Helper()
	got := fmt.Sprintf("# release %d\n%s", release.Oldest, f.b.String())
	if update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Errorf("%v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
		return
	}
	if line, have, had := difference([]byte(got), want); line > 0 {
		t.Errorf("%s, line %d: a format has changed from\n%s\nto\n%s\n"+
			"Programs of one release must agree on every byte: raise the release (package internal/release), "+
			"or, if this one was never published, run the test with -update and review the file.", path, line, had, have)
	}
}

// difference returns the first line that differs, or 0.
func difference(got, want []byte) (line int, have, had []byte) {
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range max(len(a), len(b)) {
		have, had = nil, nil
		if i < len(a) {
			have = a[i]
		}
		if i < len(b) {
			had = b[i]
		}
		if !bytes.Equal(have, had) || (i < len(a)) != (i < len(b)) {
			return i + 1, have, had
		}
	}
	return 0, nil, nil
}
