package tokenizer

// Tokenizer turns a caption into the ids that a text tower reads. It may be used by many goroutines at once.
type Tokenizer interface {
	// Encode fills dst, whose length is the context, with start, ids, end and padding as the model expects, and
	// returns how many leading entries are not padding. Text that is too long is cut as CLIP does it: the end token
	// keeps the last slot. It allocates nothing in steady state.
	Encode(dst []int32, text string) int
	// Decode returns the text of ids, special tokens and padding included. For the caption alone, give it the ids
	// between start and end. Ids that do not exist leave no trace.
	Decode(ids []int32) string

	VocabSize() int // ids are in [0, VocabSize)
	Start() int32   // -1 where the model has none
	End() int32     // -1 where the model has none
	Pad() int32
	// Context is the usual length of Encode's dst, or 0 where the tokenizer's files do not tell.
	Context() int

	// Fingerprint is a sha256 over all that changes ids. It is the same on every machine and after Save and Load.
	Fingerprint() string
	// Save writes files into dir, which it makes if need be, that Load reads back to a tokenizer of the same
	// fingerprint. Each file is replaced atomically, the one that Load looks for last.
	Save(dir string) error
}
