package emoji

import "tandem/data/source"

// pkg pins an npm package.
type pkg struct {
	source.Licence        // Work is the package's name
	sha512         string // of the tarball, base64 as npm writes it
	size           int64
}

// file is the name of the package's tarball in the cache.
func (p pkg) file() string { return mangle(p.Work) + "-" + p.Version + ".tgz" }

// format says how a vendor's package holds its drawings.
type format int

const (
	iconifyByCode format = iota // icons.json, and chars.json from code points to icon names
	iconifyByName               // icons.json alone; names are matched with labels
	filesByCode                 // assets/<code points>.webp
)

// vendor is one style of drawing.
type vendor struct {
	name   string
	style  string // the label "style"
	pkg    string
	format format
	names  string // for iconifyByName: the sections of names.txt that hold, separated by spaces
	flags  bool   // whether its flags are its own drawings, and can be told
}

// silhouette is the style of drawings in black alone: what is known by its colour is left out of them.
const silhouette = "silhouette"

// vendors in the order in which examples come.
var vendors = []vendor{
	{"noto", "shaded", "@iconify-json/noto", iconifyByCode, "", true},
	{"noto-v1", "shaded", "@iconify-json/noto-v1", iconifyByName, "cldr", true},
	{"twemoji", "flat", "@iconify-json/twemoji", iconifyByCode, "", true},
	// The package's flags are in Noto's manner and not Microsoft's, who draw none.
	{"fluent-3d", "3d", "@lobehub/fluent-emoji-3d", filesByCode, "", false},
	{"fluent-flat", "flat", "@iconify-json/fluent-emoji-flat", iconifyByCode, "", true},
	{"fluent-mono", silhouette, "@iconify-json/fluent-emoji-high-contrast", iconifyByCode, "", true},
	{"emojione", "flat", "@iconify-json/emojione", iconifyByName, "cldr", true},
	{"emojione-mono", silhouette, "@iconify-json/emojione-monotone", iconifyByName, "cldr", false},
	{"fxemoji", "flat", "@iconify-json/fxemoji", iconifyByName, "fxemoji", true},
	{"streamline", "outlined", "@iconify-json/streamline-emojis", iconifyByName, "cldr streamline", true},
}

// emojibase is the package with names, tags, groups and translations.
const emojibase = "emojibase-data"

// packages pins what is downloaded: 33.5 MB in all.
var packages = []pkg{
	{source.Licence{Work: emojibase, Version: "17.0.0", Author: "Miles Johnson", SPDX: "MIT", Use: "names, tags and groups"},
		"Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==", 6711091},
	{source.Licence{Work: "@lobehub/fluent-emoji-3d", Version: "1.1.0", Author: "Microsoft Corporation; packaged by LobeHub", SPDX: "MIT", Use: "pictures"},
		"Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==", 15792027},
	{source.Licence{Work: "@iconify-json/noto", Version: "1.2.9", Author: "Google Inc", SPDX: "Apache-2.0", Use: "pictures"},
		"DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==", 3102958},
	{source.Licence{Work: "@iconify-json/noto-v1", Version: "1.2.5", Author: "Google Inc", SPDX: "Apache-2.0", Use: "pictures"},
		"/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==", 1587591},
	{source.Licence{Work: "@iconify-json/twemoji", Version: "1.2.5", Author: "Twitter", SPDX: "CC-BY-4.0", Use: "pictures"},
		"uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==", 1555888},
	{source.Licence{Work: "@iconify-json/fluent-emoji-flat", Version: "1.2.6", Author: "Microsoft Corporation", SPDX: "MIT", Use: "pictures"},
		"RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==", 1172438},
	{source.Licence{Work: "@iconify-json/fluent-emoji-high-contrast", Version: "1.2.6", Author: "Microsoft Corporation", SPDX: "MIT", Use: "pictures"},
		"esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==", 1054969},
	{source.Licence{Work: "@iconify-json/emojione", Version: "1.2.3", Author: "Emoji One (version 2, as kept by EmojiTwo)", SPDX: "CC-BY-4.0", Use: "pictures"},
		"T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==", 687690},
	{source.Licence{Work: "@iconify-json/emojione-monotone", Version: "1.2.1", Author: "Emoji One (version 2, as kept by EmojiTwo)", SPDX: "CC-BY-4.0", Use: "pictures"},
		"cZSNcPsuiAD6HCzCh/2dYKGh3pNI0jJlxBxQWfC33cQsPtqYZqulGBvlkThXYNvDl8VxgVHT9u+izyX/yeEIkA==", 1094642},
	{source.Licence{Work: "@iconify-json/fxemoji", Version: "1.2.2", Author: "Mozilla", SPDX: "Apache-2.0", Use: "pictures"},
		"UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==", 1034876},
	{source.Licence{Work: "@iconify-json/streamline-emojis", Version: "1.2.4", Author: "Streamline", SPDX: "CC-BY-4.0", Use: "pictures"},
		"iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A==", 381714},
}

// VendorNames returns the names of all vendors, in the order in which their examples come.
func VendorNames() []string {
	names := make([]string, len(vendors))
	for i, v := range vendors {
		names[i] = v.name
	}
	return names
}
