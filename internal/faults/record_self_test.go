package faults

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// Each counter must be able to detect what it counts.

func TestDoublesAreFound(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	first := grant{key: "k", client: "a", token: 1, got: at(10), until: at(20)}
	tests := []struct {
		name           string
		then           grant
		double, shrunk int
	}{
		{"after it", grant{key: "k", client: "b", token: 2, got: at(21), until: at(30)}, 0, 0},
		{"during it", grant{key: "k", client: "b", token: 2, got: at(19), until: at(30)}, 1, 0},
		{"before it, and not over", grant{key: "k", client: "b", token: 0, got: at(5)}, 1, 0},
		{"of another key", grant{key: "l", client: "b", token: 2, got: at(19), until: at(30)}, 0, 0},
		{"with the same token", grant{key: "k", client: "b", token: 1, got: at(21), until: at(30)}, 0, 1},
		{"with a smaller token, during it", grant{key: "k", client: "b", token: 0, got: at(11), until: at(12)}, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, grants := range [][]grant{{first, tt.then}, {tt.then, first}} {
				double, shrunk := doubles(grants)
				if len(double) != tt.double || len(shrunk) != tt.shrunk {
					t.Errorf("double: %q, shrunk: %q, want %d and %d", double, shrunk, tt.double, tt.shrunk)
				}
			}
		})
	}
}

func TestGap(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	grants := []grant{{key: "b", got: at(1)}, {key: "a", got: at(2)}, {key: "a", got: at(11)}, {key: "a", got: at(13)}, {key: "b", got: at(17)}, {key: "a", got: at(40)}}
	tests := []struct {
		name, key  string
		begin, end int
		want       time.Duration
	}{
		{"until the first one", "a", 5, 14, 6 * time.Second},
		{"between two", "a", 10, 14, 2 * time.Second},
		{"after the last one", "a", 10, 20, 7 * time.Second},
		{"of a key without any", "c", 10, 20, 10 * time.Second},
		{"of all keys", "", 10, 20, 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := gap(grants, at(tt.begin), at(tt.end), func(key string) bool { return tt.key == "" || tt.key == key })
			if got != tt.want {
				t.Errorf("gap %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOutOfOrder(t *testing.T) {
	for _, tt := range []struct {
		tokens []sharelock.Token
		want   int
	}{
		{[]sharelock.Token{3, 5, 8}, 0},
		{[]sharelock.Token{3, 0, 8}, 0},
		{[]sharelock.Token{5, 3, 8}, 1},
		{[]sharelock.Token{8, 3, 5}, 2},
	} {
		if got := outOfOrder(tt.tokens); got != tt.want {
			t.Errorf("%v: %d out of order, want %d", tt.tokens, got, tt.want)
		}
	}
}
