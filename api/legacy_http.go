package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/halfclosed"
	"github.com/sgkandale/sharelock/api/httpjson"
	"github.com/sgkandale/sharelock/internal/auth"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// legacyAnswer is the original API's answer to lock and unlock. Its clients read the status. The
// error is an addition, for conditions for which the original has no status.
type legacyAnswer struct {
	Status original.Status `json:"status"`
	Error  *httpjson.Error `json:"error,omitempty"`
}

// legacyPing answers every request, with any method and body.
func (s *httpAPI) legacyPing(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, []byte(`{"message":"`+pong+`"}`))
}

func (s *httpAPI) legacyLock(w http.ResponseWriter, r *http.Request) {
	m := &original.LockRequest{}
	if err := decodeLegacy(w, r, m); err != nil {
		s.fail(w, r, err, nil)
		return
	}
	ctx, err := s.gate.Check(r.Context(), auth.Acquire, m.GetKey())
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	st, hold, err := s.legacy.lock(ctx, m.GetKey(), r.Header.Get(clientIDHeader), m.GetTimeoutMs())
	if errors.Is(err, context.Canceled) {
		if half := halfclosed.Probe(w, r); half != nil {
			defer half.Close()
			w = half
			st, hold, err = s.legacy.lock(halfclosed.UnlessItWaits(ctx), m.GetKey(), r.Header.Get(clientIDHeader), m.GetTimeoutMs())
		}
	}
	gate.Finished(ctx, hold.Token, err)
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
	ctx, err := s.gate.Check(r.Context(), auth.Acquire, m.GetKey())
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	// An unlock does not wait, see callThrough.
	st, err := s.legacy.unlock(context.WithoutCancel(ctx), m.GetKey(), r.Header.Get(clientIDHeader))
	gate.Finished(ctx, 0, err)
	s.answerLegacy(w, r, st, err)
}

// decodeLegacy decodes a body with encoding/json, as the original did: unknown fields, and data
// after the first value, are ignored.
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

// answerLegacy answers with the HTTP status that the original had for each status. It reports
// whether the answer was sent.
func (s *httpAPI) answerLegacy(w http.ResponseWriter, r *http.Request, st original.Status, err error) bool {
	outcome(w, cmp.Or(err, originalCodes[st]))
	code := http.StatusOK
	answer := legacyAnswer{Status: st}
	switch {
	case err != nil:
		s.logFailure(r, err)
		body := httpjson.Describe(err, nil)
		code, answer.Error = pb.HTTPStatus(err), &body
	case st == original.Status_Timeout:
		code = http.StatusRequestTimeout
	case st == original.Status_UnknownLock:
		code = http.StatusNotFound
	}
	return s.failWith(w, err, code, answer)
}
