// Package deploy holds what is deployed against those who read it: packagers, validators, an interpreter of state machines.
package deploy
