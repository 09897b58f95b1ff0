package tokenizer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type hfPreTokenizers struct {
	typed
	List []json.RawMessage `json:"pretokenizers"`
}

type hfSplit struct {
	typed
	Pattern   hfPattern `json:"pattern"`
	Behaviour string    `json:"behavior"`
	Invert    bool      `json:"invert"`
}

type hfByteLevel struct {
	typed
	AddPrefixSpace bool  `json:"add_prefix_space"`
	TrimOffsets    bool  `json:"trim_offsets"` // changes no ids
	UseRegex       *bool `json:"use_regex"`    // true where it is missing
}

type hfMetaspace struct {
	typed
	Replacement    string  `json:"replacement"`
	PrependScheme  *string `json:"prepend_scheme"`
	Split          *bool   `json:"split"`
	AddPrefixSpace *bool   `json:"add_prefix_space"` // until 2023, for prepend_scheme
	StrRep         *string `json:"str_rep"`          // in old files, the same as replacement
}

type hfWhitespaceSplit struct{ typed }

func buildPreTokenizer(t *Pipeline, data json.RawMessage) error {
	return buildComponent(t, data, map[string]func() component{
		"Sequence":        func() component { return new(hfPreTokenizers) },
		"Split":           func() component { return new(hfSplit) },
		"ByteLevel":       func() component { return new(hfByteLevel) },
		"Metaspace":       func() component { return new(hfMetaspace) },
		"WhitespaceSplit": func() component { return new(hfWhitespaceSplit) },
	})
}

func (t *Pipeline) preTokenize(step preTokenizer) error {
	t.pre = append(t.pre, step)
	return nil
}

func (p *hfPreTokenizers) build(t *Pipeline) error {
	for _, part := range p.List {
		if err := buildPreTokenizer(t, part); err != nil {
			return err
		}
	}
	return nil
}

// clipRegex is CLIP's pattern, after the special tokens that some files put before it.
const clipRegex = `'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`

// specialRegex is a special token such as <\|startoftext\|> in front of clipRegex.
var specialRegex = regexp.MustCompile(`^(<(?:\\\||\w)+>)\|`)

func (p *hfSplit) build(t *Pipeline) error {
	if p.Pattern.String != nil && *p.Pattern.String != "" {
		behaviours := []string{"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext"}
		if p.Invert || !slices.Contains(behaviours, p.Behaviour) {
			return fmt.Errorf("behavior %q with invert %v is not implemented", p.Behaviour, p.Invert)
		}
		return t.preTokenize(&literalSplit{[]byte(*p.Pattern.String), p.Behaviour})
	}
	regex := deref(p.Pattern.Regex)
	var specials []string
	for rest := regex; ; {
		match := specialRegex.FindStringSubmatch(rest)
		if match == nil {
			regex = rest
			break
		}
		specials = append(specials, strings.ReplaceAll(match[1], `\|`, "|"))
		rest = rest[len(match[0]):]
	}
	if regex != clipRegex || !p.Invert || p.Behaviour != "Removed" {
		return fmt.Errorf("pattern %q with behavior %q and invert %v is not implemented, only CLIP's", regex, p.Behaviour, p.Invert)
	}
	return t.preTokenize(&wordSplit{wordPattern{specials: specials}})
}

func (p *hfByteLevel) build(t *Pipeline) error {
	return t.preTokenize(&byteLevel{p.AddPrefixSpace, p.UseRegex == nil || *p.UseRegex})
}

func (p *hfMetaspace) build(t *Pipeline) error {
	scheme := deref(p.PrependScheme)
	if p.PrependScheme == nil {
		scheme = "always"
		if p.AddPrefixSpace != nil && !*p.AddPrefixSpace {
			scheme = "never"
		}
	}
	if !slices.Contains([]string{"always", "first", "never"}, scheme) || len([]rune(p.Replacement)) != 1 {
		return fmt.Errorf("prepend_scheme %q or replacement %q is not implemented", scheme, p.Replacement)
	}
	return t.preTokenize(&metaspace{[]byte(p.Replacement), scheme, p.Split == nil || *p.Split})
}

func (*hfWhitespaceSplit) build(t *Pipeline) error { return t.preTokenize(spaceSplit{}) }
