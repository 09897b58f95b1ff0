//go:build !(linux && cgo)

package execcache

import "errors"

// Enable says that there is no cache on this platform.
func Enable(pluginPath, directory string) error {
	return errors.New("keep compiled programs: not supported on this platform")
}

// Counts returns zeros on this platform.
func Counts() (loaded, put int64) { return 0, 0 }
