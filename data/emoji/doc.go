// Package emoji makes image–caption pairs of emoji: each emoji of Unicode as drawn by several vendors under open licences,
// with names and tags from emojibase. The drawings come as npm packages, pinned by version and sha512.
//
// Vendors keep their drawings as SVG (rendered here by oksvg, in pure Go) or WebP (passed on). What oksvg cannot draw
// right is left out, by rule (clips, masks, filters, linked gradients) or by name (misdrawn.txt, found by comparing every
// drawing with another renderer); see render.go for two habits of oksvg that are worked around. Sets that do not say
// which emoji an icon is are matched by label, and by names.txt where the names differ.
//
// Splits: every fifth base emoji, in the order of the Unicode charts, is held out of training in all vendors
// ("heldout-concepts"), and all of one vendor's drawings are held out ("heldout-vendor"). The held-out vendor is Twemoji
// unless configured: it draws every emoji, so that each name can be asked for, and shares its drawings with no other
// vendor here, as Fluent's three styles, both generations of Noto and both of EmojiOne do with each other.
//
// Pictures are the same on machines of one architecture; between architectures the rounding of oksvg's floating point may
// move a channel by one.
package emoji
