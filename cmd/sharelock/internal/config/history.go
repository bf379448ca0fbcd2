package config

import "time"

// historyKeys returns the settings of the history of ended holds.
func historyKeys() []key {
	return []key{
		{"history.max_bytes", "", "", bytesOf(func(c *Config) *int64 { return &c.Mesh.HistoryBytes })},
		{"history.keep", "", "", duration(func(c *Config) *time.Duration { return &c.Mesh.HistoryKeep })},
	}
}
