// Package host runs the functions' real binaries under each of their three faces.
package host
