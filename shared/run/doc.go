// Package run takes canaries through the steps of a run: plan, inject, confirm, sweep.
package run
