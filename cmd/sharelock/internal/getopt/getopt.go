package getopt

import (
	"fmt"
	"slices"
	"strings"
)

// Option is an option of getopt. It has a letter, names, or both.
type Option struct {
	Letter byte
	Names  []string
	// Value is set if the option takes a value.
	Value bool
	// Set is called when the option is present.
	Set func(value string) error
}

// Parse parses arguments as getopt_long(3) does with a leading + in its option string: it stops
// at the first argument that is not an option. Letters may be combined, and a name may be
// abbreviated as long as it is not ambiguous. Parse returns the arguments after the options.
func Parse(options []Option, args []string) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return args[1:], nil
		case strings.HasPrefix(arg, "--"):
			args, err = longOption(options, arg[2:], args[1:])
		case len(arg) > 1 && arg[0] == '-':
			args, err = letters(options, arg[1:], args[1:])
		default:
			return args, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func longOption(options []Option, arg string, args []string) (rest []string, err error) {
	name, value, given := strings.Cut(arg, "=")
	o, err := byName(options, name)
	switch {
	case err != nil:
		return nil, err
	case given && !o.Value:
		return nil, fmt.Errorf("option '--%s' doesn't allow an argument", name)
	case o.Value && !given:
		if len(args) == 0 {
			return nil, fmt.Errorf("option '--%s' requires an argument", name)
		}
		value, args = args[0], args[1:]
	}
	return args, o.Set(value)
}

// byName finds an option by its name or by a prefix of its name.
func byName(options []Option, name string) (*Option, error) {
	var found *Option
	for i := range options {
		for _, n := range options[i].Names {
			switch {
			case n == name:
				return &options[i], nil
			case !strings.HasPrefix(n, name) || found == &options[i]:
			case found != nil:
				return nil, fmt.Errorf("option '--%s' is ambiguous", name)
			default:
				found = &options[i]
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("unrecognized option '--%s'", name)
	}
	return found, nil
}

// letters parses combined letters. The value of the last letter may follow it directly.
func letters(options []Option, arg string, args []string) (rest []string, err error) {
	for arg != "" {
		i := slices.IndexFunc(options, func(o Option) bool { return o.Letter == arg[0] })
		if i < 0 {
			return nil, fmt.Errorf("invalid option -- '%c'", arg[0])
		}
		letter, value := arg[0], arg[1:]
		arg = value
		if options[i].Value {
			if arg = ""; value == "" {
				if len(args) == 0 {
					return nil, fmt.Errorf("option requires an argument -- '%c'", letter)
				}
				value, args = args[0], args[1:]
			}
		}
		if err := options[i].Set(value); err != nil {
			return nil, err
		}
	}
	return args, nil
}
