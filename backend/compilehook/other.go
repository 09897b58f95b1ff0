//go:build !(linux && cgo)

package compilehook

import "errors"

// Install says that there is no hook on this platform.
func Install(pluginPath string) error { return errUnsupported }

// Keep says that there is no cache on this platform.
func Keep(pluginPath, devices, directory string) error { return errUnsupported }

// Counts returns zeros on this platform.
func Counts() (loaded, put int64) { return 0, 0 }

var errUnsupported = errors.New("hook the compiler: not supported on this platform")
