package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

func testKey(n byte) Key { return Key{n, 0xc3, 0x5a} }

// ringOf returns a ring of keys with these letters.
func ringOf(names string) (r Ring) {
	for _, n := range []byte(names) {
		r = append(r, testKey(n))
	}
	return r
}

// names is the inverse of ringOf.
func names(r Ring) string {
	var b []byte
	for _, k := range r {
		b = append(b, k[0])
	}
	return string(b)
}

// text returns the contents of a keys file.
func text(r Ring) []byte {
	var b bytes.Buffer
	for _, k := range r {
		fmt.Fprintln(&b, k.Text())
	}
	return b.Bytes()
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// However a key is printed, logged or encoded, the output does not contain it.
func TestKeysAreSecret(t *testing.T) {
	k := testKey('a')
	type holder struct{ Key Key }
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", k, holder{k}, Ring{k})
	}
	fmt.Fprintln(&out, fmt.Errorf("a key: %w", fmt.Errorf("%v", k)))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("a key", "key", k, "ring", Ring{k}, "in", holder{k})
	}
	if err := json.NewEncoder(&out).Encode(holder{k}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{k.Text(), "c35a", "C35A", "195 90", "195,90", "0xc3"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is in the output:\n%s", secret, &out)
		}
	}
	if n := strings.Count(out.String(), k.Fingerprint().String()); n < 20 {
		t.Errorf("the fingerprint is in the output only %d times:\n%s", n, &out)
	}
}

func TestParseKey(t *testing.T) {
	if a, b := Generate(), Generate(); a == b {
		t.Error("two new keys are the same")
	}
	k := testKey('a')
	if got, err := ParseKey(k.Text()); got != k || err != nil {
		t.Errorf("a key comes back as %v, %v", got, err)
	}
	for _, bad := range []string{"", "x", k.Text() + "=", k.Text()[1:], strings.ToLower(k.Text()), k.Fingerprint().String()} {
		if _, err := ParseKey(bad); !errors.Is(err, errNotKey) || len(bad) > 8 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, name := range []string{k.Text(), k.Fingerprint().String(), strings.ToUpper(k.Fingerprint().String())} {
		if f, err := ParseFingerprint(name); f != k.Fingerprint() || err != nil {
			t.Errorf("%q names %v, %v", name, f, err)
		}
	}
	if _, err := ParseFingerprint("0123"); !errors.Is(err, errNotKey) {
		t.Errorf("a short fingerprint: %v", err)
	}
}

func TestRing(t *testing.T) {
	f := func(name byte) Fingerprint { return testKey(name).Fingerprint() }
	for _, c := range []struct {
		what string
		do   func(Ring) (Ring, error)
		ring string
		want string
		err  error
	}{
		{"the first key", func(r Ring) (Ring, error) { return r.Install(testKey('a')) }, "", "a", nil},
		{"another key", func(r Ring) (Ring, error) { return r.Install(testKey('c')) }, "ab", "abc", nil},
		{"a key again", func(r Ring) (Ring, error) { return r.Install(testKey('b')) }, "ab", "ab", nil},
		{"one too many", func(r Ring) (Ring, error) { return r.Install(testKey('z')) }, "abcdefgh", "", ErrFull},
		{"use the last", func(r Ring) (Ring, error) { return r.Use(f('c')) }, "abc", "cab", nil},
		{"use the primary", func(r Ring) (Ring, error) { return r.Use(f('a')) }, "abc", "abc", nil},
		{"use a key that is not there", func(r Ring) (Ring, error) { return r.Use(f('z')) }, "abc", "", ErrUnknownKey},
		{"remove the middle", func(r Ring) (Ring, error) { return r.Remove(f('b')) }, "abc", "ac", nil},
		{"remove what is not there", func(r Ring) (Ring, error) { return r.Remove(f('z')) }, "abc", "abc", nil},
		{"remove the primary", func(r Ring) (Ring, error) { return r.Remove(f('a')) }, "abc", "", ErrPrimary},
		{"merge", func(r Ring) (Ring, error) { return r.Merge(ringOf("xb")), nil }, "abc", "xbac", nil},
		{"merge too many", func(r Ring) (Ring, error) { return r.Merge(ringOf("xy")), nil }, "abcdefgh", "xyabcdef", nil},
		{"merge nothing", func(r Ring) (Ring, error) { return r.Merge(nil), nil }, "ab", "ab", nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			ring := slices.Clip(ringOf(c.ring))
			got, err := c.do(ring)
			if names(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q becomes %q, %v, want %q, %v", c.ring, names(got), err, c.want, c.err)
			}
			if names(ring) != c.ring {
				t.Errorf("the ring %q was changed in place to %q", c.ring, names(ring))
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	a, b := testKey('a').Text(), testKey('b').Text()
	for _, c := range []struct{ file, want, err string }{
		{a, "a", ""},
		{a + "\n" + b + "\n", "ab", ""},
		{"# primary\r\n" + a + "\r\n\r\n  " + b + "\t\n", "ab", ""},
		{"", "", "there is no key in it"},
		{"# nothing\n\n", "", "there is no key in it"},
		{a + "\n\nAAAA\n", "", "line 3: not a gossip key: it has 3 bytes, want 32 (AES-256)"},
		{"# x\n" + a[:20] + "!" + "\n", "", "line 2: not a gossip key: want 32 bytes in base64"},
		{a + "\n" + b + "\n# again\n" + a, "", "line 4: the key is on line 1 already"},
		{string(text(ringOf("abcdefghi"))), "", "line 9: more than 8 keys"},
		{strings.Repeat("#\n", maxFile), "", "it has more than"},
	} {
		ring, err := ParseFile([]byte(c.file))
		if names(ring) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.100q is %q, %v, want %q, %q", c.file, names(ring), err, c.want, c.err)
		}
	}
}

// No file crashes the parser. A ring that it accepts survives encoding and decoding, and its errors
// contain no part of a line.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte("# keys\n" + testKey('a').Text() + "\n\n" + testKey('b').Text()))
	f.Add([]byte("AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ring, err := ParseFile(data)
		if err != nil {
			for line := range strings.Lines(string(data)) {
				if line = strings.TrimSpace(line); len(line) > 20 && strings.Contains(err.Error(), line) {
					t.Fatalf("the error contains a line: %v", err)
				}
			}
			return
		}
		if len(ring) == 0 || len(ring) > MaxKeys {
			t.Fatalf("%d keys", len(ring))
		}
		if again, err := ParseFile(text(ring)); err != nil || !slices.Equal(again, ring) {
			t.Fatalf("%v comes back as %v, %v", ring, again, err)
		}
		if again, err := decode(encode(ring)); err != nil || !slices.Equal(again, ring) {
			t.Fatalf("%v comes back from the record as %v, %v", ring, again, err)
		}
	})
}

// A damaged record causes an error that contains no key.
func FuzzRecord(f *testing.F) {
	f.Add(encode(ringOf("ab")))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"keys":["AAAA"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ring, err := decode(data)
		if err == nil && len(data) > 0 {
			if again, err := decode(encode(ring)); err != nil || !slices.Equal(again, ring) {
				t.Fatalf("%v comes back as %v, %v", ring, again, err)
			}
		}
	})
}

func TestRecord(t *testing.T) {
	want := "{\n  \"version\": 1,\n  \"keys\": [\n    \"YcNaAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n  ]\n}\n"
	if got := string(encode(ringOf("a"))); got != want {
		t.Errorf("a ring is stored as\n%s\nwant\n%s", got, want)
	}
	if r, err := decode(nil); len(r) != 0 || err != nil {
		t.Errorf("no record: %v, %v", r, err)
	}
	key := testKey('a').Text()
	for _, bad := range []string{
		"x", "{}", `{"version":1,"keys":["` + key[1:] + `"]}`, `{"version":1,"keys":["` + key + `"],"more":1}`, want + want,
		`{"version":2,"keys":[]}`, `{"version":1,"keys":["` + key + `","` + key + `"]}`, string(encode(ringOf("abcdefghi"))),
	} {
		if r, err := decode([]byte(bad)); err == nil || strings.Contains(err.Error(), key[1:]) {
			t.Errorf("%q is read as %v, %v", bad, r, err)
		}
	}
}

func TestMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "off": Off, "migrate": Migrate, "required": Required} {
		if m, err := ParseMode(text); m != want || err != nil || m.String() != text {
			t.Errorf("%q is %v, %v", text, m, err)
		}
	}
	if _, err := ParseMode("Required"); err == nil || Mode(9).String() != "Mode(9)" {
		t.Errorf("a bad mode: %v, %v", err, Mode(9))
	}
}

// memory is a Store in memory.
type memory struct {
	data []byte
	err  error
}

func (m *memory) Keyring() ([]byte, error) { return m.data, nil }

func (m *memory) SetKeyring(data []byte) error {
	if m.err == nil {
		m.data = data
	}
	return m.err
}

// How a process encrypts depends on the configuration and on whether it has keys.
func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	writeFile(t, file, text(ringOf("fg")))
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		what   string
		mode   Mode
		file   string
		stored string
		want   Mode
		ring   string
		err    string
		log    string
	}{
		{"nothing", Auto, "", "", Off, "", "", ""},
		{"keys of the directory", Auto, "", "ab", Required, "ab", "", ""},
		{"keys of the file", Auto, file, "", Required, "fg", "", ""},
		{"both", Auto, file, "ab", Required, "fg", "", testKey('a').String()},
		{"both, the same primary", Required, file, "fa", Required, "fg", "", ""},
		{"off with a file", Off, file, "ab", Off, "", "", "gossip is not encrypted"},
		{"off with a missing file", Off, missing, "", Off, "", "", "gossip is not encrypted"},
		{"migrate without keys", Migrate, "", "", Migrate, "", "", ""},
		{"required without keys", Required, "", "", 0, "", "sharelock keyring install", ""},
		{"a missing file", Migrate, missing, "ab", 0, "", "mesh.gossip_keys_file " + missing, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			var out bytes.Buffer
			store := &memory{}
			if c.stored != "" {
				store.data = encode(ringOf(c.stored))
			}
			k, err := Open(Config{Mode: c.mode, File: c.file, Store: store, Log: slog.New(slog.NewTextHandler(&out, nil))})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.Mode() != c.want || names(k.Ring()) != c.ring {
				t.Errorf("it is %v with %q, want %v with %q", k.Mode(), names(k.Ring()), c.want, c.ring)
			}
			if !strings.Contains(out.String(), c.log) || (c.log == "") != (out.Len() == 0) {
				t.Errorf("the log is %q, want %q", &out, c.log)
			}
		})
	}
	if _, err := Open(Config{Store: &memory{data: []byte("{")}, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, errDamaged) {
		t.Errorf("a damaged record: %v", err)
	}
}

// A change is stored before it is put in use, and a change that cannot be stored is not put in use.
func TestChange(t *testing.T) {
	store := &memory{}
	k, err := Open(Config{Mode: Migrate, Store: store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	used := "?"
	if err := k.Attach(func(r Ring) error {
		if stored, err := decode(store.data); err != nil || names(stored) != names(r) {
			t.Errorf("%q is used while %q is stored, %v", names(r), names(stored), err)
		}
		used = names(r)
		return nil
	}); err != nil || used != "" {
		t.Fatalf("attached to %q, %v", used, err)
	}
	install := func(name byte) error {
		_, err := k.Change(func(r Ring) (Ring, error) { return r.Install(testKey(name)) })
		return err
	}
	if err := install('a'); err != nil || used != "a" {
		t.Errorf("after a change %q is used, %v", used, err)
	}
	store.err = errors.New("disk full")
	if err := install('b'); !errors.Is(err, store.err) || used != "a" || names(k.Ring()) != "a" {
		t.Errorf("a change that cannot be stored: %v, %q is used", err, used)
	}
	off, err := Open(Config{Store: &memory{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := off.Change(func(r Ring) (Ring, error) { return r.Install(testKey('a')) }); !errors.Is(err, ErrOff) {
		t.Errorf("a change without encryption: %v", err)
	}
}

// A keys file that has changed is in use within ten seconds. A bad file changes nothing, and is
// counted and logged once. No command changes keys that come from a file.
func TestReload(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys")
		write := func(data []byte) { writeFile(t, file, data) }
		write(text(ringOf("a")))
		var out bytes.Buffer
		k, err := Open(Config{File: file, Store: &memory{}, Log: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		used := ""
		if err := k.Attach(func(r Ring) error { used = names(r); return nil }); err != nil {
			t.Fatal(err)
		}
		go k.Run(t.Context())
		after := func(what, want string, taken, refused uint64) {
			t.Helper()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if n, m := k.Reloads(); used != want || n != taken || m != refused {
				t.Errorf("%s: %q is used, %d reloads, %d refused; want %q, %d, %d", what, used, n, m, want, taken, refused)
			}
		}
		after("nothing new", "a", 0, 0)
		write(text(ringOf("ab")))
		after("a key more", "ab", 1, 0)
		write([]byte("AAAA\n"))
		after("a bad file", "ab", 1, 1)
		after("the same bad file", "ab", 1, 1)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		after("no file", "ab", 1, 2)
		if err := k.Reload(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("asked for a file that is not there: %v", err)
		}
		after("asked", "ab", 1, 3)
		write(text(ringOf("ba")))
		if err := k.Reload(); err != nil || used != "ba" {
			t.Errorf("asked: %q is used, %v", used, err)
		}
		if _, err := k.Change(func(r Ring) (Ring, error) { return r, nil }); !errors.Is(err, ErrFromFile) || err.Error() != "the keys come from mesh.gossip_keys_file" {
			t.Errorf("a command: %v", err)
		}
		if n := strings.Count(out.String(), "level=ERROR"); n != 3 {
			t.Errorf("%d errors in the log, want 3:\n%s", n, &out)
		}
		for _, secret := range []string{testKey('a').Text(), testKey('b').Text()} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("the log contains a key:\n%s", &out)
			}
		}
	})
}
