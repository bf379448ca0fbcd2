package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The log level over HTTP is read, changed, and refused if invalid.
func TestLogLevelOverHTTP(t *testing.T) {
	level := new(slog.LevelVar)
	h := NewHTTP(newFake(), Options{Level: level}).Handler
	wantJSON(t, exchange(t, h, "GET", "/v1/admin/log-level", ""), 200, `{"level":"info"}`)
	wantJSON(t, exchange(t, h, "PUT", "/v1/admin/log-level", `{"level":"warn"}`), 200, `{"level":"warn"}`)
	if level.Level() != slog.LevelWarn {
		t.Errorf("the level is %v", level.Level())
	}
	for _, body := range []string{`{"level":"loud"}`, `{}`, `[]`, `{"level":"WARN"}`} {
		if w := exchange(t, h, "PUT", "/v1/admin/log-level", body); w.Code != 400 {
			t.Errorf("%s is %d %s", body, w.Code, w.Body)
		}
	}
	if w := exchange(t, h, "POST", "/v1/admin/log-level", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, PUT" {
		t.Errorf("POST is %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	h = NewHTTP(newFake(), Options{}).Handler
	if w := exchange(t, h, "GET", "/v1/admin/log-level", ""); w.Code != 400 {
		t.Errorf("a level that cannot be changed is %d %s", w.Code, w.Body)
	}
}

// The port for probes serves only the probes, with the node's answers.
func TestOpsPort(t *testing.T) {
	h := NewOps(newFake(), Options{}).Handler
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/v1/mesh": 404, "/v1/locks/k": 404, "/": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s is %d, want %d", path, w.Code, want)
		}
	}
}
