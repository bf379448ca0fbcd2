package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

const (
	contextVariable = "SHARELOCK_CONTEXT"
	// The file of contexts, which people write, and the file with the name of the context in use, which
	// "sharelock context use" writes. They are in the same folder.
	contextsFile = "contexts.yaml"
	inUseFile    = "context"
)

// savedContext is an entry in the file of contexts: a mesh, and how to reach it.
type savedContext struct {
	name    string
	servers []string
	tls     bool
	// settings holds those of access, by their keys. The paths of files are absolute, or relative to
	// the current folder.
	settings map[string]string
}

// contextsDir returns the folder of contexts, or "" if the environment names no home.
func (a *app) contextsDir() string {
	if dir := variable(a.environ, "XDG_CONFIG_HOME", ""); dir != "" {
		return filepath.Join(dir, "sharelock")
	}
	if home := variable(a.environ, "HOME", variable(a.environ, "USERPROFILE", "")); home != "" {
		return filepath.Join(home, ".config", "sharelock")
	}
	return ""
}

// chosenContext returns the context that a flag, the environment or "sharelock context use" names;
// nil if none of them does. The flag may be empty.
func (a *app) chosenContext(flag string) (*savedContext, error) {
	name, by := flag, "--context"
	if name == "" {
		name, by = variable(a.environ, contextVariable, ""), contextVariable
	}
	if name == "" {
		var err error
		if name, err = a.contextInUse(); name == "" || err != nil {
			return nil, err
		}
		by = "sharelock context use"
	}
	all, path, err := a.readContexts()
	if err != nil {
		return nil, err
	}
	c := all[name]
	if c == nil {
		return nil, exit.Usagef("%s: there is no context %q in %s, which has: %s", by, name, path, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	return c, nil
}

// contextInUse returns the name of the context that "sharelock context use" has written, if any.
func (a *app) contextInUse() (string, error) {
	dir := a.contextsDir()
	if dir == "" {
		return "", nil
	}
	text, err := os.ReadFile(filepath.Join(dir, inUseFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return "", exit.Usagef("%w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

var errNoHome = errors.New("contexts are in the home directory, and HOME is not set")

// readContexts reads the file of contexts.
func (a *app) readContexts() (all map[string]*savedContext, path string, err error) {
	dir := a.contextsDir()
	if dir == "" {
		return nil, "", exit.Usagef("%w", errNoHome)
	}
	path = filepath.Join(dir, contextsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, path, exit.Usagef("%w", err)
	}
	if all, err = parseContexts(data, dir); err != nil {
		return nil, path, exit.Usagef("%s: %w", path, err)
	}
	return all, path, nil
}

// parseContexts reads contexts from YAML. Paths are relative to dir.
func parseContexts(data []byte, dir string) (map[string]*savedContext, error) {
	parsed, err := yaml.Parser().Unmarshal(data)
	if err != nil {
		return nil, err
	}
	all := map[string]*savedContext{}
	for name, v := range parsed {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: want servers and other settings, got %s", name, text.Value(v))
		}
		c := &savedContext{name: name, settings: map[string]string{}}
		for key, v := range fields {
			if err := c.set(key, v, dir); err != nil {
				return nil, fmt.Errorf("%s.%s: %w", name, key, err)
			}
		}
		all[name] = c
	}
	return all, nil
}

// set takes one setting of the file.
func (c *savedContext) set(key string, v any, dir string) error {
	switch key {
	case "servers":
		list, ok := v.([]any)
		for _, item := range list {
			addr, isText := item.(string)
			ok = ok && isText
			c.servers = append(c.servers, addr)
		}
		if !ok || len(list) == 0 {
			return errors.New("want a list of addresses, host:port")
		}
		return nil
	case "tls":
		b, ok := v.(bool)
		if c.tls = b; !ok {
			return fmt.Errorf("want true or false, got %s", text.Value(v))
		}
		return nil
	}
	for _, s := range accessSettings() {
		if key == "" || s.context != key {
			continue
		}
		setting, ok := v.(string)
		if !ok || setting == "" {
			return fmt.Errorf("want text, got %s", text.Value(v))
		}
		if key != "tls_server_name" && !filepath.IsAbs(setting) {
			setting = filepath.Join(dir, setting)
		}
		c.settings[key] = setting
		return nil
	}
	return errors.New("is not a setting of a context: want servers, tls, tls_ca, tls_cert, tls_key, tls_server_name or auth_token_file")
}

// contextCommand shows and chooses contexts.
func (a *app) contextCommand() *cobra.Command {
	cmd := group("context", "Choose between meshes",
		&cobra.Command{
			Use: "list", Short: "List the contexts; * marks the one in use", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.listContexts() },
		},
		&cobra.Command{
			Use: "use NAME", Short: "Use a context from now on; - uses none", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.useContext(args[0]) },
		},
		&cobra.Command{
			Use: "show [NAME]", Short: "Show a context, or the one in use", Args: cobra.MaximumNArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.showContext(strings.Join(args, "")) },
		},
	)
	cmd.GroupID = groupMesh
	cmd.Long = `A context is a mesh with how to reach it, in ~/.config/sharelock/contexts.yaml:

  prod:
    servers: ["a.example.com:50052", "b.example.com:50052"]
    tls_ca: ca.pem                  # paths are relative to the file
    tls_cert: ci.pem
    tls_key: ci-key.pem
  test:
    servers: ["test.example.com:50052"]
    tls: true                       # trust the authorities of the system
    auth_token_file: test.token

Client commands use the context of --context, of SHARELOCK_CONTEXT, or the one that
"sharelock context use" has chosen. Flags and other variables win over it.`
	cmd.Example = `  sharelock context use prod
  sharelock members --context test`
	return cmd
}

func (a *app) listContexts() error {
	all, _, err := a.readContexts()
	if err != nil {
		return err
	}
	used := ""
	if c, err := a.chosenContext(""); err == nil && c != nil {
		used = c.name
	}
	rows := [][]string{{"", "CONTEXT", "SERVERS"}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		mark := " "
		if name == used {
			mark = "*"
		}
		rows = append(rows, []string{mark, text.Printable(name), text.Printable(strings.Join(all[name].servers, ","))})
	}
	return text.Table(a.stdout, rows)
}

func (a *app) useContext(name string) error {
	dir := a.contextsDir()
	if dir == "" {
		return exit.Failure(errNoHome)
	}
	if name == "-" {
		if err := os.Remove(filepath.Join(dir, inUseFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return exit.Failure(err)
		}
		a.printf("no context is in use\n")
		return nil
	}
	c, err := a.chosenContext(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, inUseFile+"-*")
	if err != nil {
		return exit.Failure(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is there only after an error
	_, err = f.WriteString(c.name + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, inUseFile))
	}
	if err != nil {
		return exit.Failure(err)
	}
	a.printf("context %s: %s\n", text.Printable(c.name), text.Printable(strings.Join(c.servers, ",")))
	return nil
}

func (a *app) showContext(name string) error {
	c, err := a.chosenContext(name)
	if err != nil {
		return err
	}
	if c == nil {
		return exit.Failure(errors.New("no context is in use"))
	}
	a.printf("context: %s\nservers: %s\n", text.Printable(c.name), text.Printable(strings.Join(c.servers, ",")))
	if c.tls {
		a.printf("tls: true\n")
	}
	for _, key := range slices.Sorted(maps.Keys(c.settings)) {
		a.printf("%s: %s\n", key, text.Printable(c.settings[key]))
	}
	return nil
}
