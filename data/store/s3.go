//go:build s3

package store

import _ "gocloud.dev/blob/s3blob" // s3://

func init() { Register("s3", openBucket) }
