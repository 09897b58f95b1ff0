// Package shapes generates pictures of coloured shapes with captions that are true of them: an endless training set that
// needs no download, and probes of what a model makes of number, place, binding, negation and written words.
//
// A picture is a pure function of (seed, split, index). All arithmetic is on integers and the PNG compressor is a pinned
// module, so the bytes are the same on every machine; golden sums in the tests hold them. Pictures are made
// independently, in any order, from any number of goroutines.
//
// Three kinds of scene: one object with a size and a place, two to six equal objects, and two different objects of which
// one is left of, right of, above or below the other. Every sixth pair of colour and shape never appears in the splits
// train and test; the split heldout-pairs shows only these, so that it asks for colour and shape apart.
package shapes
