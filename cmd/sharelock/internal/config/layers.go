package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// envPrefix is the prefix of every environment variable of ShareLock. The rest of a
// configuration key's variable is the key in capitals, with __ for a dot.
const envPrefix = "SHARELOCK_"

// Setting is a value for a key, from one source.
type Setting struct {
	Key   string
	Value any
	// Source is where the value came from, for errors.
	Source string
}

// apply puts settings into c. It returns an error that lists all bad settings.
func (c *Config) apply(settings []Setting) error {
	table := make(map[string]key)
	sections := make(map[string]bool)
	for _, k := range keys() {
		table[k.name] = k
		if section, _, ok := strings.Cut(k.name, "."); ok {
			sections[section] = true
		}
	}
	var errs []error
	for _, s := range settings {
		k, known := table[s.Key]
		var err error
		switch {
		case known && s.Value != nil: // a key without a value, as in "seeds:", sets nothing
			err = k.set(c, s.Value)
		case sections[s.Key] && !emptySection(s.Value):
			err = errors.New("is a section with keys of its own")
		case !known && !sections[s.Key]:
			err = errors.New("unknown key")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", s.Source, s.Key, err))
		}
	}
	return errors.Join(errs...)
}

func emptySection(v any) bool {
	m, ok := v.(map[string]any)
	return v == nil || ok && len(m) == 0
}

// fileSettings reads a YAML file.
func fileSettings(path string) ([]Setting, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err // the error names the file
	}
	settings, err := yamlSettings(data, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return settings, nil
}

func yamlSettings(data []byte, source string) ([]Setting, error) {
	k := koanf.New(".")
	if err := k.Load(raw(data), yaml.Parser()); err != nil {
		return nil, err
	}
	return sorted(k.All(), func(string) string { return source }), nil
}

// raw is a koanf provider of bytes.
type raw []byte

// ReadBytes implements koanf.Provider.
func (r raw) ReadBytes() ([]byte, error) { return r, nil }

// Read implements koanf.Provider.
func (r raw) Read() (map[string]any, error) { return nil, errors.New("raw bytes need a parser") }

// envSettings reads the environment. A variable that contains __ must name a key. Other
// variables are ignored unless they name a key: some belong to the client commands, and container
// orchestrators set some, such as SHARELOCK_PORT.
func envSettings(environ []string) ([]Setting, error) {
	known := make(map[string]bool)
	for _, k := range keys() {
		known[k.name] = true
	}
	variables := make(map[string]string)
	k := koanf.New(".")
	err := k.Load(env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "__", "."))
			if !known[name] && !strings.Contains(name, ".") {
				return "", nil
			}
			variables[name] = variable
			return name, value
		},
	}), nil)
	if err != nil {
		return nil, err
	}
	return sorted(k.All(), func(name string) string { return variables[name] }), nil
}

func sorted(values map[string]any, source func(key string) string) []Setting {
	settings := make([]Setting, 0, len(values))
	for name, v := range maps.All(values) {
		settings = append(settings, Setting{name, v, source(name)})
	}
	slices.SortFunc(settings, func(a, b Setting) int { return cmp.Compare(a.Key, b.Key) })
	return settings
}

// Origin is the source of every setting that is not a default, by the setting's key.
type Origin map[string]string

// Load combines the defaults, the file at path unless that is empty, the environment and the flags.
// Later sources override earlier ones. The error lists everything that is wrong in all sources.
func Load(path string, environ []string, flags []Setting) (c Config, origin Origin, err error) {
	c, origin = Default(), make(Origin)
	var errs []error
	apply := func(settings []Setting, err error) {
		errs = append(errs, err, c.apply(settings))
		for _, s := range settings {
			if s.Value != nil {
				origin[s.Key] = s.Source
			}
		}
	}
	if path != "" {
		apply(fileSettings(path))
	}
	apply(envSettings(environ))
	apply(flags, nil)
	if c.Mesh.Name == "" {
		if c.Mesh.Name, err = os.Hostname(); err != nil {
			errs = append(errs, fmt.Errorf("node.name is empty, and there is no host name: %w", err))
		}
		origin["node.name"] = "host name"
	}
	errs = append(errs, c.Mesh.Validate(), c.Audit.Validate())
	return c, origin, errors.Join(errs...)
}
