// Package page is the web page that every node serves at /: what the mesh does, which keys are held,
// who waits, and what happened. It is static files that call the node's HTTP API from the browser;
// there is no build step. static/vendor has third-party libraries, with their licences and the
// checksums that the test compares.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed static
var static embed.FS

// root is the folder of the files in static.
const root = "static"

// policy is the Content-Security-Policy of the page: it runs no inline code, loads nothing from
// elsewhere, and cannot be framed.
const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// AssetsPath is the path under which the files of the page are served, besides / itself.
const AssetsPath = "/assets/"

// file is one file of the page.
type file struct {
	content []byte
	kind    string // Content-Type
	tag     string // ETag
}

// Handler returns a handler of / and of everything below [AssetsPath]. Browsers ask for each file
// again, and get 304 while it has not changed, so an upgraded node is not shown by an older page.
func Handler() http.Handler { return handler(files()) }

// files returns all files of the page by their paths. Files that are embedded can always be read.
var files = sync.OnceValue(func() map[string]file {
	all := map[string]file{}
	err := fs.WalkDir(static, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(static, name)
		name = strings.TrimPrefix(name, root+"/")
		all[urlPath(name)] = newFile(name, content)
		return err
	})
	if err != nil {
		panic(err)
	}
	return all
})

// urlPath returns the path of a file of the page.
func urlPath(name string) string {
	if name == "index.html" {
		return "/"
	}
	return AssetsPath + name
}

func newFile(name string, content []byte) file {
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // the system's table may be missing or different
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case "":
		kind = "text/plain; charset=utf-8"
	}
	sum := sha256.Sum256(content)
	return file{content: content, kind: kind, tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// handler serves files by their path.
func handler(files map[string]file) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("ETag", f.tag)
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, strings.TrimPrefix(r.URL.Path, AssetsPath), time.Time{}, bytes.NewReader(f.content))
	})
}
