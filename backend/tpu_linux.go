//go:build linux && amd64

package backend

import "github.com/gomlx/go-xla/installer"

// hasTPU reports whether the machine looks like one with a TPU; go-xla tells only on this platform.
func hasTPU() bool { return installer.HasTPU() }
