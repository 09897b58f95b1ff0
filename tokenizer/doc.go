// Package tokenizer turns captions into ids.
package tokenizer
