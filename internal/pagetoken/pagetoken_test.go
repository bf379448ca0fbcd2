package pagetoken_test

import (
	"testing"

	"github.com/sgkandale/sharelock/internal/pagetoken"
)

func TestRoundTrip(t *testing.T) {
	for _, key := range []string{"", "a", "orders/42", "\u00e4 \n"} {
		if got, err := pagetoken.Key(pagetoken.After(key)); got != key || err != nil {
			t.Errorf("%q became %q, %v", key, got, err)
		}
	}
	if _, err := pagetoken.Key("xyz"); err == nil {
		t.Error("any text is a token")
	}
}
