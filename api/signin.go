package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
)

// signIn checks the token in the body and returns it as a cookie. It is open to all; a wrong token
// counts as a guess, as in every other call.
func (s *httpAPI) signIn(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	token, err := signInToken(body)
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	answer := struct {
		Principal string `json:"principal"`
	}{}
	if s.gate.Authenticates() {
		if answer.Principal, err = s.gate.SignIn(r, token); err != nil {
			s.fail(w, r, err, nil)
			return
		}
		http.SetCookie(w, gate.Cookie(r, token))
	}
	b, err := json.Marshal(answer)
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	s.write(w, http.StatusOK, b)
}

// signOut makes the browser forget the cookie.
func (s *httpAPI) signOut(w http.ResponseWriter, r *http.Request) {
	if _, err := readBody(w, r); err != nil {
		s.fail(w, r, err, nil)
		return
	}
	gone := gate.Cookie(r, "") //nolint:gosec // it has the attributes of the one that it removes
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	s.write(w, http.StatusOK, []byte("{}"))
}

// signInToken returns the token in the body of a sign-in.
func signInToken(body []byte) (string, error) {
	var in struct {
		Token string `json:"token"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return "", sharelock.Invalid("body", `want {"token":"…"}: `+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", sharelock.Invalid("body", "has something after the object")
	}
	if in.Token == "" {
		return "", sharelock.Invalid("token", "must be given")
	}
	return in.Token, nil
}
