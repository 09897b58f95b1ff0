//go:build !(linux && amd64)

package backend

func hasTPU() bool { return false }
