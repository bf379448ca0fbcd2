package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// reader reads YAML strictly: unknown and repeated keys, values of another type, aliases and empty
// lists are errors, which name file, line and field.
type reader struct {
	name string
	errs []error
}

// maxProblems bounds the errors that are reported at once.
const maxProblems = 20

// document returns the root of the only document in data.
func (r *reader) document(data []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: is empty", r.name)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: has more than one document", r.name)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: is empty", r.name)
	}
	return doc.Content[0], nil
}

// fail records what is wrong with a field.
func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	if len(r.errs) == maxProblems {
		return
	}
	at := fmt.Sprintf("%s:%d", r.name, n.Line)
	if field != "" {
		at += ": " + field
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %w", at, fmt.Errorf(format, args...)))
}

// each calls f with every key of a mapping, and its value.
func (r *reader) each(n *yaml.Node, field string, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "want keys and values, have %s", kindOf(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			r.fail(key, field, "the key %q is not text (put it in quotes)", key.Value)
			continue
		}
		if line, again := seen[key.Value]; again {
			r.fail(key, field, "the key %q is here and in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

// fields reads a mapping with known keys.
func (r *reader) fields(n *yaml.Node, field string, known map[string]func(n *yaml.Node, field string)) {
	r.each(n, field, func(key, value *yaml.Node) {
		read := known[key.Value]
		if read == nil {
			r.fail(key, field, "unknown key %q", key.Value)
			return
		}
		read(value, under(field, key.Value))
	})
}

// items reads a list, which has at least one item unless it may be empty.
func (r *reader) items(n *yaml.Node, field string, mayBeEmpty bool, f func(n *yaml.Node, field string)) {
	switch {
	case n.Kind != yaml.SequenceNode:
		r.fail(n, field, "want a list, have %s", kindOf(n))
	case len(n.Content) == 0 && !mayBeEmpty:
		r.fail(n, field, "is empty")
	}
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			f(item, field+"["+strconv.Itoa(i)+"]")
		}
	}
}

// text reads a string.
func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.fail(n, field, "want text, have %s (put it in quotes)", kindOf(n))
		return "", false
	}
	return n.Value, true
}

// number reads a positive integer.
func (r *reader) number(n *yaml.Node, field string) (int, bool) {
	v, err := strconv.ParseInt(n.Value, 10, 32)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < 1 {
		r.fail(n, field, "want a whole number from 1 on, have %s", kindOf(n))
		return 0, false
	}
	return int(v), true
}

// under returns the name of a field in another one.
func under(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// kindOf describes a value of the wrong type.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a section"
	default:
		return "an alias"
	}
}
