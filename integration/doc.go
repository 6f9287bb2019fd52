// Package integration tests Touchmark as its users meet it: the built command
// as separate processes, stock clients, real signals.
package integration
