package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// YAML returns all settings as YAML. from, if it is not nil, has the sources of the settings that are
// not defaults; every line then names its source.
func (c *Config) YAML(from Origin) string {
	var b strings.Builder
	open := ""
	for _, k := range bySection(keys()) {
		section, name, nested := strings.Cut(k.name, ".")
		if !nested {
			section, name = "", k.name
		}
		if section != open && nested {
			fmt.Fprintf(&b, "%s:\n", section)
		}
		open = section
		line := name + ": " + scalar(k.get(c))
		if nested {
			line = "  " + line
		}
		if from != nil {
			source := from[k.name]
			if source == "" {
				source = "default"
			}
			line = fmt.Sprintf("%-44s # %s", line, source)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// bySection returns keys so that those of a section are together.
func bySection(list []key) []key {
	first := make(map[string]int)
	section := func(k key) string { s, _, _ := strings.Cut(k.name, "."); return s }
	for i, k := range list {
		if _, known := first[section(k)]; !known {
			first[section(k)] = i
		}
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b key) int { return first[section(a)] - first[section(b)] })
	return list
}

// scalar returns a value as YAML.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case time.Duration:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}
