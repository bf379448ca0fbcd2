package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/gorilla/mux"
	"github.com/sgkandale/sharelock/internal/metrics"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// description returns openapi.yaml.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

func described(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

// anyMethod lists the paths that accept every method.
var anyMethod = []string{"/ping", "/", "/assets/{file}"}

var probed = []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete}

// Every path and method that the server has is described, and vice versa.
func TestOpenAPIRoutes(t *testing.T) {
	s := newHTTPAPI(newFake(), Options{Dashboard: true, Metrics: http.NotFoundHandler(), Calls: metrics.NewCalls()})
	router := s.routes().(*mux.Router)
	served := map[string]bool{}
	err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		path := regexp.MustCompile(`:[^}]*\}`).ReplaceAllString(template, "}")
		if strings.HasSuffix(path, "/") && path != "/" {
			path += "{file}" // a prefix
		}
		for _, method := range probed {
			target := strings.NewReplacer("{key}", "k", "{token}", "5", "{file}", "x").Replace(path)
			r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader("{}"))
			var match mux.RouteMatch
			if !route.Match(r, &match) {
				continue
			}
			w := httptest.NewRecorder()
			s.guard(match.Handler).ServeHTTP(w, mux.SetURLVars(r, match.Vars))
			if w.Code != http.StatusMethodNotAllowed && (method == http.MethodGet || !slices.Contains(anyMethod, path)) {
				served[method+" "+path] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for path, item := range described(t).Paths.Map() {
		for method := range item.Operations() {
			documented[method+" "+path] = true
		}
	}
	for _, route := range slices.Sorted(maps.Keys(served)) {
		if !documented[route] {
			t.Errorf("openapi.yaml does not describe %s", route)
		}
	}
	for _, route := range slices.Sorted(maps.Keys(documented)) {
		if !served[route] {
			t.Errorf("openapi.yaml describes %s, which is not served", route)
		}
	}
}

// The description is served unchanged.
func TestOpenAPIServed(t *testing.T) {
	w := exchange(t, NewHTTP(newFake(), Options{}).Handler, http.MethodGet, "/openapi.yaml", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/yaml" || !bytes.Equal(w.Body.Bytes(), openAPI) {
		t.Errorf("status %d, %s, %d bytes", w.Code, w.Header().Get("Content-Type"), w.Body.Len())
	}
}

// operationOf returns the operation of an exchange, as the router chooses it, and the parameters in its
// path; nil if there is none.
func operationOf(doc *openapi3.T, r *http.Request) (*routers.Route, map[string]string) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := r.URL.EscapedPath()
	// The longest path comes first, because it is the most specific one.
	templates := slices.Sorted(maps.Keys(doc.Paths.Map()))
	slices.SortStableFunc(templates, func(a, b string) int { return len(b) - len(a) })
	for _, template := range templates {
		item := doc.Paths.Value(template)
		pattern := strings.NewReplacer(`\{key\}`, `(?P<key>.*)`, `\{token\}`, `(?P<token>[^/]*)`, `\{file\}`, `(?P<file>.*)`).Replace(regexp.QuoteMeta(template))
		re := regexp.MustCompile("^" + pattern + "$")
		m := re.FindStringSubmatch(path)
		operation := item.GetOperation(method)
		if m == nil || operation == nil {
			continue
		}
		parameters := map[string]string{}
		for i, name := range re.SubexpNames() {
			if name != "" {
				parameters[name], _ = url.PathUnescape(m[i])
			}
		}
		return &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: operation}, parameters
	}
	return nil, nil
}

// protoNames matches bodies that use forms that proto3 JSON allows but the description does not have.
var protoNames = regexp.MustCompile(`"\w+_\w+" *:|"(token|slots|mode)" *: *[0-9]|"slots" *: *"|: *null`)

// checkDescribed checks an exchange against openapi.yaml: the answer always, and the request if the server
// has accepted it.
func checkDescribed(t testing.TB, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	doc := described(t)
	route, parameters := operationOf(doc, r)
	if route == nil {
		if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusOK {
			t.Errorf("%s %s, status %d, is not described", r.Method, r.URL, w.Code)
		}
		return
	}
	if slices.Contains([]string{"metrics", "page", "asset", "openapi"}, route.Operation.OperationID) {
		return // no JSON
	}
	request := r.Clone(t.Context())
	request.Body = io.NopCloser(strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
			ExcludeResponseBody: strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream"), // a text of any form
			ExcludeRequestBody:  strings.TrimSpace(body) == "" || route.Operation.RequestBody == nil,
		},
	}
	if w.Code < 300 && !protoNames.MatchString(body) && !strings.HasPrefix(route.Operation.OperationID, "original") {
		if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
			t.Errorf("openapi.yaml forbids the request %s %s %s, which was accepted: %v", r.Method, r.URL, body, err)
		}
	}
	if r.Method == http.MethodHead {
		return
	}
	err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: input.Options,
	})
	if err != nil {
		t.Errorf("openapi.yaml forbids the answer %d to %s %s: %v", w.Code, r.Method, r.URL, err)
	}
}

// The check of exchanges can fail.
func TestOpenAPICatches(t *testing.T) {
	for _, tt := range []struct {
		method, target, body string
		status               int
		answer               string
	}{
		{http.MethodGet, "/v1/locks/k", "", 200, `{"lock":{"key":5}}`},
		{http.MethodGet, "/v1/locks/k", "", 418, `{"error":{"code":418,"reason":"TEAPOT","message":"","details":{}}}`},
		{http.MethodGet, "/v1/locks/k", "", 404, `{"error":{"code":404,"reason":"TEAPOT","message":"","details":{}}}`},
		{http.MethodPost, "/v1/locks/k", `{"ttl":5}`, 200, `{}`},
		{http.MethodPost, "/v1/locks/k", `{"colour":"red"}`, 200, `{}`},
		{http.MethodGet, "/v1/locks?pageSize=x", "", 200, `{"locks":[],"nextPageToken":"","quarantined":0,"filtered":false}`},
		{http.MethodPut, "/v1/nothing", "", 500, `{}`},
	} {
		var found failures
		found.TB = t
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(tt.status)
		_, _ = w.WriteString(tt.answer)
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.target, nil)
		checkDescribed(&found, r, tt.body, w)
		if found.n == 0 {
			t.Errorf("%s %s %s, answered %d %s, passes", tt.method, tt.target, tt.body, tt.status, tt.answer)
		}
	}
}

// failures counts errors of a test.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Errorf(string, ...any) { f.n++ }
func (f *failures) Helper()               {}

// The schemas match the messages: the same fields under their JSON names, enums with the same names,
// 64-bit integers as strings, durations with their pattern.
func TestOpenAPISchemas(t *testing.T) {
	doc := described(t)
	checked := 0
	for name, schema := range doc.Components.Schemas {
		if e := pb.File_sharelock_v1_lock_proto.Enums().ByName(protoreflect.Name(name)); e != nil {
			checkEnum(t, e, schema.Value)
			continue
		}
		m := pb.File_sharelock_v1_lock_proto.Messages().ByName(protoreflect.Name(name))
		if m == nil {
			if !slices.Contains(ofHTTP, name) {
				t.Errorf("the schema %s has no message", name)
			}
			continue
		}
		checked++
		fields := m.Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			property := schema.Value.Properties[f.JSONName()]
			if property == nil {
				t.Errorf("the schema %s lacks %s", name, f.JSONName())
				continue
			}
			if got, want := kindOfSchema(property), kindOfField(f, strings.HasSuffix(name, "Request")); got != want {
				t.Errorf("%s.%s is %s, want %s", name, f.JSONName(), got, want)
			}
		}
		for property := range schema.Value.Properties {
			if fields.ByJSONName(property) == nil {
				t.Errorf("the message %s has no field %s", name, property)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d schemas have messages", checked)
	}
}

// ofHTTP lists the schemas that only HTTP has.
var ofHTTP = []string{
	"SignInRequest", "SignInResponse", "Nothing", "Duration", "DurationInput", "Uint64", "Error", "ErrorReason", "Readiness", "OriginalLockRequest", "OriginalUnlockRequest", "OriginalAnswer",
}

// kindOfField returns a short form of the schema of a field. Durations in requests have more forms.
func kindOfField(f protoreflect.FieldDescriptor, request bool) string {
	var kind string
	switch {
	case f.IsMap():
		return "map"
	case f.Kind() == protoreflect.MessageKind && f.Message().FullName() == "google.protobuf.Duration":
		if kind = "Duration"; request {
			kind = "DurationInput"
		}
	case f.Kind() == protoreflect.MessageKind && f.Message().FullName() == "google.protobuf.Timestamp":
		kind = "string"
	case f.Kind() == protoreflect.MessageKind:
		kind = string(f.Message().Name())
	case f.Kind() == protoreflect.EnumKind:
		kind = string(f.Enum().Name())
	case f.Kind() == protoreflect.Uint64Kind:
		kind = "Uint64"
	case f.Kind() == protoreflect.Uint32Kind, f.Kind() == protoreflect.Int32Kind:
		kind = "integer"
	case f.Kind() == protoreflect.BoolKind:
		kind = "boolean"
	case f.Kind() == protoreflect.StringKind, f.Kind() == protoreflect.BytesKind:
		kind = "string"
	default:
		kind = f.Kind().String()
	}
	if f.IsList() {
		return "list of " + kind
	}
	return kind
}

func kindOfSchema(s *openapi3.SchemaRef) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case s.Value.Type.Is("array"):
		return "list of " + kindOfSchema(s.Value.Items)
	case s.Value.Type.Is("object"):
		return "map"
	case s.Value.Type != nil && len(*s.Value.Type) == 1:
		return (*s.Value.Type)[0]
	}
	return fmt.Sprint(s.Value.Type)
}

func checkEnum(t *testing.T, e protoreflect.EnumDescriptor, s *openapi3.Schema) {
	t.Helper()
	var got, want []string
	for _, v := range s.Enum {
		got = append(got, fmt.Sprint(v))
	}
	for i := range e.Values().Len() {
		want = append(want, string(e.Values().Get(i).Name()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has the values %q, want %q", e.Name(), got, want)
	}
}

// Exactly the reasons of the table of errors are listed.
func TestOpenAPIReasons(t *testing.T) {
	var got []string
	for _, v := range described(t).Components.Schemas["ErrorReason"].Value.Enum {
		got = append(got, fmt.Sprint(v))
	}
	want := pb.Reasons()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		t.Errorf("the reasons are\n%s, want\n%s", a, b)
	}
}
