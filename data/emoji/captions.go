package emoji

import (
	"strings"

	"tandem/internal/prng"
)

// phrase turns a label into words: "flag: Norway" is "flag of Norway", "man: blond hair" is "man with blond hair".
func phrase(label string) string {
	head, rest, found := strings.Cut(label, ": ")
	switch {
	case !found:
		return label
	case head == "flag" || head == "family":
		return head + " of " + rest
	case head == "keycap":
		return head + " " + rest
	case strings.HasSuffix(rest, "hair") || rest == "beard" || rest == "bald" || strings.HasSuffix(rest, "skin tone"):
		return head + " with " + rest
	}
	return head + ", " + rest
}

// words turns the name of a group or subgroup into words.
func words(name string) string { return strings.ReplaceAll(name, "-", " ") }

// captions describes a picture in several ways, the plainest first. Which tags are used depends on the emoji and the
// vendor, so that the vendors' pictures of one emoji spread over its tags.
func captions(v variant, vendor string) []string {
	e := v.emoji
	name := phrase(e.Label)
	if v.tone != "" {
		name += " with " + v.tone
	}
	tags := shuffledTags(e, vendor)
	out := []string{name, "an emoji of " + name}
	if len(tags) > 0 {
		out = append(out, strings.Join(append([]string{name}, tags[:min(2, len(tags))]...), ", "))
	}
	out = append(out, name+", "+words(e.Subgroup), words(e.Group)+": "+name, words(e.Group)+", "+words(e.Subgroup))
	if len(tags) > 2 {
		out = append(out, strings.Join(tags[len(tags)-3:], ", "))
	}
	return out
}

// namesColour reports whether a label names a colour, like "yellow heart".
func namesColour(label string) bool {
	for word := range strings.FieldsSeq(label) {
		switch word {
		case "red", "orange", "yellow", "green", "blue", "purple", "brown", "pink", "grey":
			return true
		}
	}
	return false
}

// shuffledTags are an emoji's tags without those that its label says already.
func shuffledTags(e *Emoji, vendor string) []string {
	said := map[string]bool{}
	for _, word := range strings.FieldsFunc(strings.ToLower(e.Label), func(r rune) bool { return r == ' ' || r == ':' || r == ',' || r == '-' }) {
		said[word] = true
	}
	var tags []string
	for _, tag := range e.Tags {
		tag := strings.ToLower(tag)
		if !said[tag] && !(said["woman"] && tag == "man") && !(said["man"] && tag == "woman") { // some tags are those of the person in general
			tags = append(tags, tag)
		}
	}
	r := prng.New(hash(e.Hexcode), hash(vendor))
	for i := len(tags) - 1; i > 0; i-- {
		j := r.Uint32N(uint32(i + 1))
		tags[i], tags[j] = tags[j], tags[i]
	}
	return tags
}

// hash turns a string into a key for prng.
func hash(s string) uint64 {
	keys := make([]uint64, len(s))
	for i := range len(s) {
		keys[i] = uint64(s[i])
	}
	return prng.Mix(keys...)
}
