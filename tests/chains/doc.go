// Package chains makes archives with signed digest chains, sound ones and ones
// that something was done to, each with what a validator has to say of it.
//
// The archives are made by nobody's code but this package's: neither by the
// sandbox's delivery nor by what validates them.
package chains
