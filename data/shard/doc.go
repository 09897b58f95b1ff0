// Package shard writes and reads the files that training data lives in: ordinary parquet files, one page for each
// image, and a manifest that says what every file holds. docs/format/shard.md specifies the format.
package shard
