package config

import "math"

// opsKeys returns the settings for operators: the audit log, and the ports for probes and for
// debugging.
func opsKeys() []key {
	return []key{
		{
			"audit.file", "", "",
			textValue(func(c *Config) *string { return &c.Audit.File }),
		},
		{
			"audit.calls", "", "",
			boolean(func(c *Config) *bool { return &c.Audit.Calls }),
		},
		{"audit.max_bytes", "", "", bytesOf(func(c *Config) *int64 { return &c.Audit.MaxBytes })},
		{
			"audit.keep", "", "",
			integer(func(c *Config) *int { return &c.Audit.Keep }),
		},
		{
			"tracing.keys", "", "",
			boolean(func(c *Config) *bool { return &c.Mesh.TraceKeys }),
		},
		{
			"ops.listen", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.OpsListen }),
		},
		{
			"debug.listen", "", "",
			textValue(func(c *Config) *string { return &c.Mesh.DebugListen }),
		},
		{
			"debug.flight_recorder", "", "",
			boolean(func(c *Config) *bool { return &c.FlightRecorder }),
		},
	}
}

// bytesOf returns the value of a setting that is a number of bytes.
func bytesOf(field func(*Config) *int64) value {
	return value{func(c *Config, v any) error {
		var n int
		if err := integer(func(*Config) *int { return &n }).set(c, v); err != nil {
			return err
		}
		*field(c) = int64(min(n, math.MaxInt64))
		return nil
	}, func(c *Config) any { return *field(c) }}
}
