package page

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func serve(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	for _, c := range []struct {
		path, kind string
		status     int
	}{
		{"/", "text/html; charset=utf-8", 200},
		{"/assets/main.js", "text/javascript; charset=utf-8", 200},
		{"/assets/style.css", "text/css; charset=utf-8", 200},
		{"/assets/icon.svg", "image/svg+xml", 200},
		{"/assets/vendor/preact.js", "text/javascript; charset=utf-8", 200},
		{"/assets/", "", 404},
		{"/assets/../page.go", "", 404},
		{"/assets/none.js", "", 404},
		{"/index.html", "", 404},
	} {
		w := serve(t, httptest.NewRequest(http.MethodGet, c.path, nil))
		if w.Code != c.status {
			t.Errorf("GET %s: %d, want %d", c.path, w.Code, c.status)
			continue
		}
		if c.status != 200 {
			continue
		}
		if got := w.Header().Get("Content-Type"); got != c.kind {
			t.Errorf("GET %s: %s, want %s", c.path, got, c.kind)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "script-src 'self'") || strings.Contains(got, "unsafe") {
			t.Errorf("GET %s: policy %q", c.path, got)
		}
		again := httptest.NewRequest(http.MethodGet, c.path, nil)
		again.Header.Set("If-None-Match", w.Header().Get("ETag"))
		if w := serve(t, again); w.Code != http.StatusNotModified {
			t.Errorf("GET %s with its tag: %d, want 304", c.path, w.Code)
		}
	}
	if w := serve(t, httptest.NewRequest(http.MethodPost, "/", nil)); w.Code != http.StatusNotFound {
		t.Errorf("POST /: %d", w.Code)
	}
}

// The policy forbids inline code and style, so the page must have none. The modules that a module imports
// must exist; no build step would notice.
func TestStaticFilesFitThePolicy(t *testing.T) {
	imported := regexp.MustCompile(`(?m)^import [^"]*"([^"]+)"|new Worker\(new URL\("([^"]+)"`)
	workers := 0
	inline := regexp.MustCompile(`(?i)<style|<script>| on[a-z]+="| style="`)
	modules := 0
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, "/vendor/") {
			return err
		}
		content, err := fs.ReadFile(static, name)
		if err != nil {
			return err
		}
		if m := inline.Find(content); m != nil {
			t.Errorf("%s has %q", name, m)
		}
		for _, m := range imported.FindAllSubmatch(content, -1) {
			modules++
			if len(m[2]) > 0 {
				workers++
			}
			file := path.Join(path.Dir(name), string(m[1])+string(m[2]))
			if _, err := fs.Stat(static, file); err != nil {
				t.Errorf("%s imports %s: %v", name, file, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if modules == 0 || workers == 0 {
		t.Errorf("%d imports and %d workers were checked", modules, workers)
	}
}

// What the page does without a browser is tested by browser/unit.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	files, err := filepath.Glob("browser/unit/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files with tests, %v", len(files), err)
	}
	out, err := exec.CommandContext(t.Context(), node, append([]string{"--test"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The third-party libraries are those that static/vendor/README names.
func TestVendoredFiles(t *testing.T) {
	list, err := fs.ReadFile(static, "static/vendor/README")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		if sum, name, ok := strings.Cut(lines.Text(), "  "); ok && len(sum) == sha256.Size*2 {
			named[name] = sum
		}
	}
	entries, err := fs.ReadDir(static, "static/vendor")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "README" {
			continue
		}
		content, err := fs.ReadFile(static, "static/vendor/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); named[e.Name()] != got {
			t.Errorf("%s has the checksum %s, README says %q", e.Name(), got, named[e.Name()])
		}
		delete(named, e.Name())
	}
	for name := range named {
		t.Errorf("README names %s, which does not exist", name)
	}
}
