// Package config reads the settings of a node.
//
// Every setting is one key of a table that fills a [Config]: its name in the file, how its value is
// parsed, and its flag if it has one. Everything else follows from the table: the environment
// variable is the key in capitals, an unknown key is an error, and the settings of a node can be
// printed as a file again, each with its source.
//
//	defaults < file < environment < flags
//
// Load combines these layers, and its error lists everything that is wrong in any of them. A new
// setting is a field of Config or mesh.Config, a key here, and an entry in config.yaml with its
// default: the tests compare the three.
package config
