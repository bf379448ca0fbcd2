package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// value is how the value of a setting is parsed and read. Values from the file have the type that
// YAML gives them; values from the environment and from flags are text.
type value struct {
	set func(c *Config, v any) error
	get func(c *Config) any
}

// textValue returns the value of a setting that is a string.
func textValue(field func(*Config) *string) value {
	return value{func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("want text, got %s (put it in quotes)", text.Value(v))
		}
		*field(c) = s
		return nil
	}, func(c *Config) any { return *field(c) }}
}

// boolean returns the value of a setting that is true or false.
func boolean(field func(*Config) *bool) value {
	return value{func(c *Config, v any) error {
		b, ok := v.(bool)
		if s, isText := v.(string); isText {
			var err error
			b, err = strconv.ParseBool(s)
			ok = err == nil
		}
		if !ok {
			return fmt.Errorf("want true or false, got %s", text.Value(v))
		}
		*field(c) = b
		return nil
	}, func(c *Config) any { return *field(c) }}
}

// integer returns the value of a setting that is an integer.
func integer(field func(*Config) *int) value {
	return value{func(c *Config, v any) error {
		n, ok := v.(int)
		if s, isText := v.(string); isText {
			var err error
			n, err = strconv.Atoi(s)
			ok = err == nil
		}
		if !ok {
			return fmt.Errorf("want a whole number, got %s", text.Value(v))
		}
		*field(c) = n
		return nil
	}, func(c *Config) any { return *field(c) }}
}

// natural returns the value of a setting that is an integer that is not negative.
func natural(field func(*Config) *uint32) value {
	return value{func(c *Config, v any) error {
		var n int
		if err := integer(func(*Config) *int { return &n }).set(c, v); err != nil {
			return err
		}
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("want 0 to %d, got %d", math.MaxInt32, n)
		}
		*field(c) = uint32(n)
		return nil
	}, func(c *Config) any { return *field(c) }}
}

// duration returns the value of a setting that is a duration with a unit.
func duration(field func(*Config) *time.Duration) value {
	return value{func(c *Config, v any) error {
		s, ok := v.(string)
		if n, isNumber := v.(int); isNumber && n == 0 {
			s, ok = "0s", true
		}
		d, err := time.ParseDuration(s)
		if !ok || err != nil {
			return fmt.Errorf(`want a duration such as "10s", got %s`, text.Value(v))
		}
		*field(c) = d
		return nil
	}, func(c *Config) any { return *field(c) }}
}

// list returns the value of a setting that is a list of strings, or one string with commas.
func list(field func(*Config) *[]string) value {
	return value{func(c *Config, v any) error {
		var items []string
		switch v := v.(type) {
		case string:
			if v != "" {
				items = strings.Split(v, ",")
			}
		case []any:
			for _, item := range v {
				s, ok := item.(string)
				if !ok {
					return fmt.Errorf("want a list of text, got %s in it", text.Value(item))
				}
				items = append(items, s)
			}
		default:
			return fmt.Errorf("want a list, got %s", text.Value(v))
		}
		for i := range items {
			if items[i] = strings.TrimSpace(items[i]); items[i] == "" {
				return errors.New("an entry of the list is empty")
			}
		}
		*field(c) = items
		return nil
	}, func(c *Config) any { return *field(c) }}
}

func setLevel(c *Config, v any) error {
	switch v {
	case "debug", "info", "warn", "error":
		return c.LogLevel.UnmarshalText([]byte(v.(string)))
	default:
		return fmt.Errorf("want debug, info, warn or error, got %s", text.Value(v))
	}
}

func setFormat(c *Config, v any) error {
	if v != "text" && v != "json" {
		return fmt.Errorf("want text or json, got %s", text.Value(v))
	}
	c.LogFormat = v.(string)
	return nil
}

func getLevel(c *Config) any { return strings.ToLower(c.LogLevel.String()) }
