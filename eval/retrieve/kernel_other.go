//go:build !amd64

package retrieve

var chosen = plain

// kernels lists those that this machine can run.
func kernels() []kernel { return []kernel{plain} }
