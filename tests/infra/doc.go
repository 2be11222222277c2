// Package infra tests what an operator deploys beside the functions: infra/.
package infra
