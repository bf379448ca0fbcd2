package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// signInWith posts a body to the sign-in and returns the answer.
func signInWith(h http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/auth/sign-in", strings.NewReader(body)))
	return w
}

// A page signs in with a token, makes its calls with the cookie, and signs out.
func TestSignIn(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	h := newHTTPAPI(newFake(), Options{Auth: a.Authority, Dashboard: true}).routes()
	w := signInWith(h, `{"token":"`+a.tokens["reader"]+`"}`)
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"principal":"reader"}` {
		t.Fatalf("sign-in: %d %s", w.Code, w.Body)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != "/" {
		t.Fatalf("the cookie is %v, want one that is HttpOnly and SameSite=Strict", w.Header()["Set-Cookie"])
	}
	call := func(method, target string) int {
		r := httptest.NewRequest(method, target, nil)
		r.AddCookie(cookies[0])
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if got := call("GET", "/v1/mesh"); got != http.StatusOK {
		t.Errorf("a reader reads the mesh with the cookie: %d", got)
	}
	if got := call("DELETE", "/v1/locks/k?token=1"); got != http.StatusForbidden {
		t.Errorf("a reader releases with the cookie: %d, want 403", got)
	}
	// A token in the header takes precedence over the cookie.
	r := httptest.NewRequest(http.MethodPost, "/v1/mesh/leave", nil)
	r.AddCookie(cookies[0])
	r.Header.Set("Authorization", "Bearer "+a.tokens["admin"])
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("an administrator's token beside a reader's cookie: %d", w.Code)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/auth/sign-out", nil))
	if gone := w.Result().Cookies(); len(gone) != 1 || gone[0].MaxAge >= 0 || gone[0].Name != cookies[0].Name {
		t.Errorf("signing out: %v", w.Header()["Set-Cookie"])
	}
}

func TestSignInRefuses(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	h := newHTTPAPI(newFake(), Options{Auth: a.Authority}).routes()
	for body, want := range map[string]int{
		`{"token":"slk_wrong"}`:    http.StatusUnauthorized,
		`{"token":""}`:             http.StatusBadRequest,
		`{}`:                       http.StatusBadRequest,
		``:                         http.StatusBadRequest,
		`{"token":"x","user":"y"}`: http.StatusBadRequest,
		`{"token":"` + a.tokens["reader"] + `"} {"token":1}`: http.StatusBadRequest,
	} {
		w := signInWith(h, body)
		if w.Code != want || len(w.Result().Cookies()) != 0 {
			t.Errorf("%s: %d with cookies %v, want %d without", body, w.Code, w.Result().Cookies(), want)
		}
	}
}

// Without authentication there is nothing to sign in to, and no cookie.
func TestSignInToAnOpenNode(t *testing.T) {
	w := signInWith(newHTTPAPI(newFake(), Options{}).routes(), `{"token":"x"}`)
	if w.Code != http.StatusOK || len(w.Result().Cookies()) != 0 {
		t.Errorf("%d with cookies %v", w.Code, w.Result().Cookies())
	}
}
