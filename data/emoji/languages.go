package emoji

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Translation is an emoji's label and tags in another language.
type Translation struct {
	Label string
	Tags  []string
}

// Languages returns the languages that emojibase has, like "de", "en-gb" and "zh-hant".
func (s *Source) Languages() ([]string, error) {
	var languages []string
	_, err := readPackage(s.dir, s.packages[emojibase], func(name string) bool {
		if language, ok := strings.CutSuffix(name, "/data.json"); ok && !strings.Contains(language, "/") {
			languages = append(languages, language)
		}
		return false
	})
	slices.Sort(languages)
	return languages, err
}

// LanguageColumn is the metadata column with an emoji's name in a language: "name-de".
func LanguageColumn(language string) string { return "name-" + language }

// readTranslations reads the names in all languages.
func (s *Source) readTranslations() error {
	var err error
	if s.languages, err = s.Languages(); err != nil {
		return err
	}
	s.names = map[string]map[string]Translation{}
	for _, language := range s.languages {
		if s.names[language], err = s.Translations(language); err != nil {
			return err
		}
	}
	return nil
}

// Translations returns the labels and tags of all base emoji in a language, by hexcode.
func (s *Source) Translations(language string) (map[string]Translation, error) {
	data, err := member(s.dir, s.packages[emojibase], language+"/data.json")
	if err != nil {
		return nil, fmt.Errorf("emoji labels in %q: %w", language, err)
	}
	var entries []emojibaseEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("emoji labels in %q: %w", language, err)
	}
	out := map[string]Translation{}
	for _, entry := range entries {
		if v, ok := s.catalogue.byCode[plainCode(entry.Hexcode)]; ok && v.tone == "" {
			out[v.emoji.Hexcode] = Translation{entry.Label, entry.Tags}
		}
	}
	return out, nil
}
