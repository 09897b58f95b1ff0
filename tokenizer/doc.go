// Package tokenizer turns captions into the ids that a text tower reads.
//
// CLIP returns the tokenizer of OpenAI's CLIP and of open_clip, exact to the id:
//
//	ids := make([]int32, 77)
//	n := tokenizer.CLIP().Encode(ids, "a photo of a cat") // 49406 320 1125 539 320 2368 49407 0 0 …, n = 7
//
// Train makes a byte-pair vocabulary of any size in the same format from captions, so that a small model need not carry
// 49,408 embeddings, and reports how it covers them. Load reads the tokenizer of a directory: what Save wrote, an open_clip
// model, or a Hugging Face model (CLIP, SigLIP, SigLIP 2).
//
// # What happens to a caption
//
// CLIP and trained vocabularies clean text as open_clip does when ftfy is installed: ftfy 6.3.1's fix_text with all its
// defaults (mojibake repaired, HTML entities, ligatures, full and half width, curly quotes, line breaks, surrogates,
// terminal escapes, control characters, NFC), HTML unescaped twice more, white space collapsed, lower case. Clean
// returns the result. Then the text is cut into words by
//
//	<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
//
// with case ignored as Python's regex module does it, and each word's UTF-8 bytes are merged by rank. A caption that is
// too long is cut, and the end token keeps the last slot. Bytes that are not UTF-8 count as U+FFFD.
//
// What a model of transformers or SigLIP does instead depends on its files: see Cleaning and Load. The ids of a
// tokenizer.json are those of Hugging Face's tokenizers library, those of a .model file are SentencePiece's.
//
// # Which version of Unicode
//
// Letters and numbers are those of the regex module of November 2026, whatever Go this is built with. Lower case and
// composition are Go's; they agree with Python 3.11 on every character that is assigned today (each was tried). Hugging Face's
// normalizer knows an older Unicode: the order of U+1DF6 and a mark after it is the one difference that was found.
//
// # What is different from the others, knowingly
//
//   - Text that was escaped more than a hundred times over is not unescaped to the end: it is an attack.
//   - transformers' slow SiglipTokenizer takes special tokens that are written in a caption ("</s>") for tokens; here they
//     are text, as they are for open_clip, which removes the punctuation.
//   - transformers pads CLIP with the end token (49407), open_clip with 0. Text towers read up to the end token only, so
//     that features are the same.
//
// # Files
//
// Save writes tokenizer.json and tokenizer_config.json, which transformers reads as a CLIPTokenizer (with its own
// cleaning), or the files that the tokenizer came from; and tandem_tokenizer.json with what those cannot say: kind,
// cleaning, padding, context, the fingerprint, and the sha256 of the files, which Load checks. Checkpoints carry the
// fingerprint: equal fingerprints mean equal ids for every text.
//
// # Licences
//
// The merges are OpenAI's (MIT, vocab/LICENSE); the repair of text is a port of ftfy (Apache-2.0, internal/ftfy/NOTICE).
package tokenizer
