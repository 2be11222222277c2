// Package wire turns a configuration file into a ready Run; it alone knows every driver.
package wire
