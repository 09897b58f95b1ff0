// Package source says what a source of image–caption pairs gives: the generators and fetchers beside it produce
// examples, and the data package writes them into shards.
package source

import (
	"context"
	"iter"
)

// Names of splits that every source uses for the same thing; a source may add its own held-out splits.
const (
	Train = "train"
	Test  = "test" // drawn like Train and never trained on
)

// Example is one picture with everything that is known about it.
type Example struct {
	// Key names the example within its source, the same on every machine, like "noto/1f600".
	Key string
	// Image is an encoded file (PNG, WebP or JPEG), with transparency where the drawing has it.
	Image []byte
	// Captions all describe the picture; a trainer picks one an epoch. There is at least one, the plainest first.
	Captions []string
	// Labels are metadata columns, such as class names for zero-shot evaluation. An absent key is unknown or does not apply.
	Labels map[string]string
	// Split is the part of the source that the example belongs to.
	Split string
}

// Source is a finite series of examples.
type Source interface {
	// Name is a short identifier, used in keys and file names.
	Name() string
	// Examples yields every example in an order that depends on the source's configuration alone. After an error it
	// ends.
	Examples(ctx context.Context) iter.Seq2[Example, error]
	// Licences lists the works that the pictures and captions come from; it is empty for generated ones.
	Licences() []Licence
}

// Licence says under which terms a work is used, for manifests and notices.
type Licence struct {
	Work    string `json:"work"`    // the package, like "@iconify-json/noto"
	Version string `json:"version"` // exact version
	Author  string `json:"author"`  // whom to name
	SPDX    string `json:"spdx"`    // licence identifier, like "Apache-2.0"
	Use     string `json:"use"`     // what is taken from it: "pictures" or "names, tags and groups"
}
