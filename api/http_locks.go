package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gorilla/mux"
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/httpjson"
	"github.com/sgkandale/sharelock/internal/auth"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

func (s *httpAPI) acquire(r *http.Request, body []byte) (proto.Message, error) {
	m := &pb.AcquireRequest{}
	key, err := decodeCall(r, body, m)
	if err != nil {
		return nil, err
	}
	m.Key = key
	if m.GetClientId() == "" {
		m.ClientId = r.Header.Get(clientIDHeader)
	}
	return orNil(s.locks.Acquire(r.Context(), m))
}

func (s *httpAPI) renew(r *http.Request, body []byte) (proto.Message, error) {
	m := &pb.RenewRequest{}
	key, err := decodeCall(r, body, m)
	if err != nil {
		return nil, err
	}
	m.Key = key
	// The message does not distinguish an empty map from an absent one.
	m.ClearMetadata = m.GetClearMetadata() || len(m.GetMetadata()) == 0 && given(body, "metadata")
	return orNil(s.locks.Renew(r.Context(), m))
}

// given reports whether a JSON object has a field that is not null.
func given(body []byte, name string) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(body, &fields) == nil && len(fields[name]) > 0 && string(fields[name]) != "null"
}

// release also serves the forced release of one grant or, without a token, of all grants of the
// key.
func (s *httpAPI) release(r *http.Request, _ []byte) (proto.Message, error) {
	key, err := pathKey(r)
	if err != nil {
		return nil, err
	}
	q, err := query(r, "token", "force", "reason")
	if err != nil {
		return nil, err
	}
	var token uint64
	if given, ok := q["token"]; ok {
		if token, err = parseToken(given); err != nil {
			return nil, err
		}
	}
	switch q["force"] {
	case "true":
		ctx, err := s.gate.Check(r.Context(), auth.Force, key)
		if err != nil {
			return nil, err
		}
		return orNil(s.locks.ForceRelease(named(ctx, r.Header.Get(clientIDHeader)), &pb.ForceReleaseRequest{Key: key, Token: token, Reason: q["reason"]}))
	case "", "false":
		if q["reason"] != "" {
			return nil, sharelock.Invalid("reason", "needs force=true")
		}
		ctx, err := s.gate.Check(r.Context(), auth.Acquire, key)
		if err != nil {
			return nil, err
		}
		return orNil(s.locks.Release(ctx, &pb.ReleaseRequest{Key: key, Token: token}))
	default:
		return nil, sharelock.Invalid("force", "is neither true nor false")
	}
}

func (s *httpAPI) get(r *http.Request, _ []byte) (proto.Message, error) {
	key, err := keyOnly(r)
	if err != nil {
		return nil, err
	}
	return orNil(s.locks.Get(r.Context(), &pb.GetRequest{Key: key}))
}

func (s *httpAPI) list(r *http.Request, _ []byte) (proto.Message, error) {
	q, err := query(r, "prefix", "clientId", "pageSize", "pageToken")
	if err != nil {
		return nil, err
	}
	m := &pb.ListRequest{Prefix: q["prefix"], ClientId: q["clientId"], PageToken: q["pageToken"]}
	if m.PageSize, err = pageSize("pageSize", q); err != nil {
		return nil, err
	}
	return orNil(s.locks.List(r.Context(), m))
}

// checkToken answers 412 for a stale token, so that a resource need only check the status. The
// details then are the answer for a current token.
func (s *httpAPI) checkToken(r *http.Request, _ []byte) (proto.Message, error) {
	key, err := keyOnly(r)
	if err != nil {
		return nil, err
	}
	given, err := url.PathUnescape(mux.Vars(r)["token"])
	if err != nil {
		return nil, sharelock.Invalid("token", "has a bad percent-escape")
	}
	token, err := parseToken(given)
	if err != nil {
		return nil, err
	}
	m, err := s.locks.CheckToken(r.Context(), &pb.CheckTokenRequest{Key: key, Token: token})
	if err != nil {
		return nil, err
	}
	if m.GetStale() {
		return m, sharelock.ErrStaleToken
	}
	return m, nil
}

func (s *httpAPI) whoAmI(r *http.Request, _ []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return orNil(s.meshes.WhoAmI(r.Context(), &pb.WhoAmIRequest{}))
}

func (s *httpAPI) mesh(r *http.Request, _ []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return orNil(s.meshes.GetMesh(r.Context(), &pb.GetMeshRequest{}))
}

func (s *httpAPI) locate(r *http.Request, _ []byte) (proto.Message, error) {
	key, err := keyOnly(r)
	if err != nil {
		return nil, err
	}
	return orNil(s.meshes.Locate(r.Context(), &pb.LocateRequest{Key: key}))
}

func (s *httpAPI) ring(r *http.Request, _ []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return orNil(s.meshes.GetRing(r.Context(), &pb.GetRingRequest{}))
}

func (s *httpAPI) activity(r *http.Request, _ []byte) (proto.Message, error) {
	q, err := query(r, "contended")
	if err != nil {
		return nil, err
	}
	n, err := pageSize("contended", q)
	if err != nil {
		return nil, err
	}
	return orNil(s.meshes.GetActivity(r.Context(), &pb.GetActivityRequest{Contended: n}))
}

func (s *httpAPI) leave(r *http.Request, body []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	m := &pb.LeaveRequest{}
	if err := httpjson.Decode(body, m); err != nil {
		return nil, err
	}
	return orNil(s.meshes.Leave(r.Context(), m))
}

// decodeCall reads the key from the path and the rest of m from the body. The body may also contain
// the key if it is the same.
func decodeCall(r *http.Request, body []byte, m interface {
	proto.Message
	GetKey() string
},
) (key string, err error) {
	if key, err = keyOnly(r); err != nil {
		return "", err
	}
	if err := httpjson.Decode(body, m); err != nil {
		return "", err
	}
	if got := m.GetKey(); got != "" && got != key {
		return "", sharelock.Invalid("key", "in the body differs from the key in the path")
	}
	return key, nil
}

// keyOnly returns the key in the path of a call that has no query parameters.
func keyOnly(r *http.Request) (string, error) {
	if _, err := query(r); err != nil {
		return "", err
	}
	return pathKey(r)
}

func pathKey(r *http.Request) (string, error) {
	key, err := url.PathUnescape(mux.Vars(r)["key"])
	if err != nil {
		return "", sharelock.Invalid("key", "has a bad percent-escape")
	}
	return key, nil // the Locker checks it
}

func parseToken(s string) (uint64, error) {
	token, err := strconv.ParseUint(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, sharelock.Invalid("token", "does not fit a signed 64-bit integer")
	case err != nil:
		return 0, sharelock.Invalid("token", "is not a decimal number")
	}
	return token, nil
}

// query returns the query parameters of a request. Like an unknown field of a body, an unknown or
// repeated parameter is an error: a misspelled prefix must not list everything.
func query(r *http.Request, names ...string) (map[string]string, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, sharelock.Invalid("query", "has a bad percent-escape or a semicolon")
	}
	q := make(map[string]string, len(names))
	for _, name := range names {
		given, ok := values[name]
		if !ok {
			continue
		}
		delete(values, name)
		if len(given) > 1 {
			return nil, sharelock.Invalid(name, "is given more than once")
		}
		if !utf8.ValidString(given[0]) {
			return nil, sharelock.Invalid(name, "is not valid UTF-8")
		}
		q[name] = given[0]
	}
	if unknown := slices.Sorted(maps.Keys(values)); len(unknown) > 0 {
		return nil, sharelock.Invalid(unknown[0], "is not a parameter of this request")
	}
	return q, nil
}

// pageSize returns the query parameter that bounds a list, or 0 if it is absent. The node refuses
// numbers above MaxPageSize.
func pageSize(name string, q map[string]string) (uint32, error) {
	given, ok := q[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(given, 10, 32)
	if err != nil {
		return 0, sharelock.Invalid(name, "is not a number from 0 to "+strconv.Itoa(sharelock.MaxPageSize))
	}
	return uint32(n), nil
}

// orNil returns an untyped nil instead of a nil *M if there is an error.
func orNil[M any, P interface {
	*M
	proto.Message
}](m P, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}
