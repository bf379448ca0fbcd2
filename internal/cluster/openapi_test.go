package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
)

// exampleToken is the token in the examples of openapi.yaml. When they are executed, the token of the
// hold replaces it.
const exampleToken = "4294967297"

// exampleOrder is the order in which the examples are executed: a lock is acquired, read, renewed and
// released, then the original API is used, and at the end the node leaves.
var exampleOrder = []string{
	"openapi", "healthz", "readyz", "metrics", "page", "getMesh", "getRing", "getActivity", "locate", "whoAmI",
	"signIn", "signOut", "getLogLevel", "setLogLevel", "acquire", "get", "list", "checkToken", "renew", "release", "history", "ping", "originalLock", "originalUnlock", "leave",
}

// noExample holds the operations that cannot be executed as written.
var noExample = map[string]bool{
	"asset": true,
	"watch": true, // it does not end
}

// Every example of the API description works against a real node, and the answer matches the
// description.
func TestOpenAPIExamples(t *testing.T) {
	c := cluster.Start(t, cluster.Options{
		Nodes: 1, MaxTTL: time.Minute, Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) { cfg.LogLevel = new(slog.LevelVar) },
	})
	ctx := limited(t)
	x := examples{t: t, base: "http://" + c.Addrs(0).HTTP, web: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	text := x.fetch(ctx)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	must(t, err)
	x.doc = doc
	done := map[string]bool{}
	for _, id := range exampleOrder {
		done[id] = true
		x.execute(ctx, id)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !done[op.OperationID] && !noExample[op.OperationID] {
				t.Errorf("no example of %s %s is executed: %s has no place in exampleOrder", method, path, op.OperationID)
			}
		}
	}
}

// examples executes the examples of a description.
type examples struct {
	t    *testing.T
	base string
	web  *http.Client
	doc  *openapi3.T
	// token is the token of the hold.
	token string
}

// fetch returns the description as the node serves it.
func (x *examples) fetch(ctx context.Context) []byte {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.base+"/openapi.yaml", nil)
	must(x.t, err)
	resp, err := x.web.Do(req)
	must(x.t, err)
	text, err := io.ReadAll(resp.Body)
	must(x.t, errors.Join(err, resp.Body.Close()))
	return text
}

// execute makes the request of an operation's example.
func (x *examples) execute(ctx context.Context, id string) {
	x.t.Helper()
	for path, item := range x.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.OperationID == id {
				x.request(ctx, &routers.Route{Spec: x.doc, Path: path, PathItem: item, Method: method, Operation: op})
				return
			}
		}
	}
	x.t.Errorf("openapi.yaml has no operation %s", id)
}

func (x *examples) request(ctx context.Context, route *routers.Route) {
	x.t.Helper()
	target, query, header, inPath := route.Path, url.Values{}, http.Header{}, map[string]string{}
	for _, ref := range route.Operation.Parameters {
		p := ref.Value
		if p.Example == nil {
			continue
		}
		v := strings.ReplaceAll(fmt.Sprint(p.Example), exampleToken, x.token)
		switch p.In {
		case "path":
			target = strings.ReplaceAll(target, "{"+p.Name+"}", url.PathEscape(v))
			inPath[p.Name] = v
		case "query":
			query.Set(p.Name, v)
		case "header":
			header.Set(p.Name, v)
		}
	}
	var body []byte
	if b := route.Operation.RequestBody; b != nil {
		var err error
		body, err = json.Marshal(b.Value.Content.Get("application/json").Example)
		must(x.t, err)
		body = bytes.ReplaceAll(body, []byte(exampleToken), []byte(x.token))
		header.Set("Content-Type", "application/json")
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, route.Method, x.base+target, bytes.NewReader(body))
	must(x.t, err)
	req.Header = header
	resp, err := x.web.Do(req)
	must(x.t, err)
	answer, err := io.ReadAll(resp.Body)
	must(x.t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK {
		x.t.Errorf("%s %s %s: %s %s", route.Method, target, body, resp.Status, answer)
		return
	}
	if route.Operation.OperationID == "acquire" {
		var granted struct{ Hold struct{ Token string } }
		must(x.t, json.Unmarshal(answer, &granted))
		x.token = granted.Hold.Token
	}
	x.check(ctx, route, req, body, inPath, resp, answer)
}

// check compares an exchange with the description.
func (x *examples) check(ctx context.Context, route *routers.Route, req *http.Request, body []byte, inPath map[string]string, resp *http.Response, answer []byte) {
	x.t.Helper()
	req.Body = io.NopCloser(bytes.NewReader(body))
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: inPath, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
			// The others are not JSON.
			ExcludeResponseBody: !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"),
		},
	}
	err := openapi3filter.ValidateRequest(ctx, input)
	if err == nil {
		err = openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(answer)), Options: input.Options,
		})
	}
	if err != nil {
		x.t.Errorf("openapi.yaml forbids its example of %s: %v", route.Operation.OperationID, err)
	}
}
