package api

import (
	_ "embed"
	"net/http"
	"strconv"
)

// openAPI is the description of the HTTP API, for people and for client generators. Tests compare it
// with the routes, with the messages, and with every exchange of the other tests.
//
//go:embed openapi.yaml
var openAPI []byte

// openapi answers with the description of the API.
func (s *httpAPI) openapi(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("Content-Length", strconv.Itoa(len(openAPI)))
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(openAPI) // the caller may have gone
}
