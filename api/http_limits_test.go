package api

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestHTTPBadBodies(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	deep := strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)
	pairs := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":%q,`, i, value)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for body, field := range map[string]string{
		`{`:                                "body",
		`[]`:                               "body",
		`null`:                             "body",
		`"x"`:                              "body",
		`{} {}`:                            "body",
		`{"clientId":"a","clientId":"b"}`:  "body",
		`{"clientId":"a","client_id":"b"}`: "body",
		"{\"clientId\":\"a\xff\"}":         "clientId",
		`{"clientId":"a\u0000"}`:           "clientId",
		`{"clientId":"` + strings.Repeat("c", 129) + `"}`: "clientId",
		`{"clientId":1}`:                             "clientId",
		`{"ttl":"10s","nope":1}`:                     "nope",
		`{"nope":` + deep + `}`:                      "nope",
		`{"ttl":` + deep + `}`:                       "ttl",
		deep:                                         "body",
		`{"client_id":1}`:                            "client_id",
		`{"client_id":"a\u0000"}`:                    "client_id",
		`{"ttl":"50ms","clientId":"c"}`:              "ttl",
		`{"ttl":"5 s"}`:                              "ttl",
		`{"ttl":"1m","ttl":"1m"}`:                    "body",
		`{"ttl":5}`:                                  "ttl",
		`{"ttl":"99999999999999999999s"}`:            "ttl",
		`{"ttl":"315576000001s"}`:                    "ttl",
		`{"ttl":"9300000000s"}`:                      "ttl",
		`{"ttl":"0s"}`:                               "ttl",
		`{"ttl":"-1s"}`:                              "ttl",
		`{"ttl":"0.099s"}`:                           "ttl",
		`{"clientId":"c","ttl":"61s"}`:               "ttl",
		`{"wait":"-0.001s"}`:                         "wait",
		`{"wait":"-9300000000s"}`:                    "wait",
		`{"clientId":"c","wait":"600.001s"}`:         "wait",
		`{"mode":"GREEDY"}`:                          "mode",
		`{"mode":7}`:                                 "mode",
		`{"mode":256}`:                               "mode",
		`{"slots":-1}`:                               "slots",
		`{"slots":4294967296}`:                       "slots",
		`{"slots":1e400}`:                            "slots",
		`{"clientId":"c","slots":1000001}`:           "slots",
		`{"clientId":"c","slots":2,"mode":"SHARED"}`: "slots",
		`{"metadata":{"a":1}}`:                       "metadata",
		`{"metadata":{"a":"1","a":"2"}}`:             "metadata",
		`{"clientId":"c","metadata":{` + pairs(17, "") + `}}`:                       "metadata",
		`{"clientId":"c","metadata":{` + pairs(2, strings.Repeat("v", 1023)) + `}}`: "metadata",
		`{"clientId":"c","requestId":"` + strings.Repeat("r", 65) + `"}`:            "requestId",
	} {
		w := exchange(t, h, "POST", "/v1/locks/k", body)
		t.Run(fmt.Sprintf("%.60s", body), func(t *testing.T) { wantInvalid(t, w, field) })
	}
	for body, field := range map[string]string{
		`{"token":"9223372036854775808"}`:  "token",
		`{"token":9223372036854775808}`:    "token",
		`{"token":"18446744073709551616"}`: "token",
		`{"token":"-1"}`:                   "token",
		`{"token":1.5}`:                    "token",
		`{"token":"0"}`:                    "token",
		`{"token":"1","ttl":"0s"}`:         "ttl",
		`{"token":"1","ttl":"61s"}`:        "ttl",
	} {
		w := exchange(t, h, "PATCH", "/v1/locks/k", body)
		t.Run(body, func(t *testing.T) { wantInvalid(t, w, field) })
	}
	for _, token := range []string{"", "x", "-1", "+1", "1.0", "0x10", "9223372036854775808", "18446744073709551616", "1%20"} {
		wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k?token="+token, ""), "token")
		wantInvalid(t, exchange(t, h, "GET", "/v1/locks/k/token/"+url.PathEscape(token), ""), "token")
	}
}

// Sizes at and just above the limits.
func TestHTTPLimits(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	good := func(key, body string) {
		t.Helper()
		if w := exchange(t, h, "POST", "/v1/locks/"+key, body); w.Code != 200 {
			t.Errorf("%.60s %.60s: %d %s", key, body, w.Code, w.Body)
		}
	}
	good(strings.Repeat("k", 512), `{"clientId":"c"}`)
	good(strings.Repeat("%2F", 512), `{"clientId":"c"}`)
	wantInvalid(t, exchange(t, h, "POST", "/v1/locks/"+strings.Repeat("k", 513), `{"clientId":"c"}`), "key")
	wantInvalid(t, exchange(t, h, "POST", "/v1/locks/a%00b", `{"clientId":"c"}`), "key")
	wantInvalid(t, exchange(t, h, "GET", "/v1/locks/%ff%fe", ""), "key")
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh/locate/%ff", ""), "key")
	good("ttl", `{"clientId":"`+strings.Repeat("c", 128)+`","requestId":"`+strings.Repeat("r", 64)+`","ttl":"60s"}`)
	good("slots", `{"clientId":"c","slots":1000000}`)
	good("meta", `{"clientId":"c","metadata":{"a":"`+strings.Repeat("v", 2047)+`"}}`)

	pad := func(n int) string { s := `{"clientId":"c"}`; return s + strings.Repeat(" ", n-len(s)) }
	good("body", pad(64<<10))
	for _, c := range [][2]string{{"POST", "/v1/locks/k"}, {"PATCH", "/v1/locks/k"}, {"DELETE", "/v1/locks/k"}, {"POST", "/lock"}, {"POST", "/unlock"}} {
		for _, known := range []bool{true, false} {
			r := httptest.NewRequestWithContext(t.Context(), c[0], c[1], strings.NewReader(pad(64<<10+1)))
			if !known {
				r.ContentLength = -1 // as with chunked encoding
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if e := errorOf(t, w); w.Code != 413 || e.Reason != "MESSAGE_TOO_LARGE" {
				t.Errorf("%s %s: %d %s", c[0], c[1], w.Code, w.Body)
			}
		}
	}
}
