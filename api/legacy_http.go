package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sgkandale/sharelock"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// legacyAnswer is the original's answer to lock and unlock. Its clients read the
// status; the error, for what the original had no status for, is new.
type legacyAnswer struct {
	Status original.Status `json:"status"`
	Error  *errorBody      `json:"error,omitempty"`
}

// legacyPing answers whatever it is sent, by whatever method.
func (s *httpAPI) legacyPing(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, []byte(`{"message":"`+pong+`"}`))
}

func (s *httpAPI) legacyLock(w http.ResponseWriter, r *http.Request) {
	m := &original.LockRequest{}
	if err := decodeLegacy(w, r, m); err != nil {
		s.fail(w, r, err, nil)
		return
	}
	ctx := r.Context()
	st, hold, err := s.legacy.lock(ctx, m.GetKey(), r.Header.Get(clientIDHeader), m.GetTimeoutMs())
	if errors.Is(err, context.Canceled) {
		if half := stillListens(w, r); half != nil {
			defer half.close()
			w = half
			st, hold, err = s.legacy.lock(unlessItWaits(ctx), m.GetKey(), r.Header.Get(clientIDHeader), m.GetTimeoutMs())
		}
	}
	if sent := s.answerLegacy(w, r, st, err); st == original.Status_Acquired && !sent {
		takeBack(s.legacy.node, hold)
	}
}

func (s *httpAPI) legacyUnlock(w http.ResponseWriter, r *http.Request) {
	m := &original.UnlockRequest{}
	if err := decodeLegacy(w, r, m); err != nil {
		s.fail(w, r, err, nil)
		return
	}
	// An unlock does not wait, see callThrough.
	st, err := s.legacy.unlock(context.WithoutCancel(r.Context()), m.GetKey(), r.Header.Get(clientIDHeader))
	s.answerLegacy(w, r, st, err)
}

// decodeLegacy reads a body as the original did, with encoding/json: unknown
// fields and whatever follows the first value are ignored.
func decodeLegacy(w http.ResponseWriter, r *http.Request, m any) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(m); err != nil {
		return sharelock.Invalid("body", "is not the JSON of this request")
	}
	return nil
}

// answerLegacy gives each status the HTTP status that the original gave it. It reports
// whether the answer was sent.
func (s *httpAPI) answerLegacy(w http.ResponseWriter, r *http.Request, st original.Status, err error) bool {
	code := http.StatusOK
	answer := legacyAnswer{Status: st}
	switch {
	case err != nil:
		s.logFailure(r, err)
		body := describe(err, nil)
		code, answer.Error = pb.HTTPStatus(err), &body
	case st == original.Status_Timeout:
		code = http.StatusRequestTimeout
	case st == original.Status_UnknownLock:
		code = http.StatusNotFound
	}
	return s.failWith(w, err, code, answer)
}
