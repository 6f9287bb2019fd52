// Package airgap runs the commands of docs/copy.md as they are written there, with the built touchmark and stock clients, between two registries that don't
// know each other.
package airgap
