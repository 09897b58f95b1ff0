// Package imaging turns image files into the pixels that a vision tower sees, in pure Go.
//
// Decoder reads JPEG, PNG, WebP, GIF (first frame), BMP and TIFF into a Picture that keeps the mode it was stored in
// (grey, palette, RGB with alpha, CMYK, …), because the peers resize in that mode and convert to RGB afterwards.
// EvalConfig makes the evaluation transform of open_clip from a Picture, equal to Pillow's within 1/255; TrainConfig
// makes the random crop and the augmentations of training. Both write uint8 [N, N, 3] straight into the caller's slot
// of a batch; Normalise makes float32 of it.
//
// Limits are checked on the header before anything is decoded, damaged files give errors and never panics, and the
// working objects (Decoder, Evaluator, Trainer) keep their buffers: the steady path allocates nothing. None of them is
// safe for concurrent use: each worker has its own.
package imaging
