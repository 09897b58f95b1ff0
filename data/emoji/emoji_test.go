package emoji

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/data/source"
	"tandem/internal/fault"
)

func collect(t *testing.T, s *Source) []source.Example {
	t.Helper()
	var all []source.Example
	for example, err := range s.Examples(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, example)
	}
	return all
}

func summary(examples []source.Example) []string {
	var lines []string
	for _, e := range examples {
		lines = append(lines, e.Key+" "+e.Split)
	}
	return lines
}

// TestExamples holds what is drawn, in which order and in which split. The base emoji in the charts' order are grinning
// face, waving hand, man with red hair, keycap, bear (the fifth: held out), yellow heart, flag.
func TestExamples(t *testing.T) {
	f := newFixture(t)
	tests := []struct {
		name   string
		config Config
		want   []string
	}{
		{"base emoji", Config{}, []string{
			"emoji/noto/1f600 train",
			"emoji/noto/1f44b train",
			"emoji/noto/0031-fe0f-20e3 train",
			"emoji/twemoji/1f600 heldout-vendor",
			"emoji/twemoji/1f1f3-1f1f4 heldout-vendor",
			"emoji/fluent-3d/1f600 train",
			"emoji/fluent-3d/0031-fe0f-20e3 train",
			"emoji/fluent-mono/1f600 train",
			"emoji/streamline/1f44b-1 train",
			"emoji/streamline/1f44b-2 train",
			"emoji/streamline/1f43b heldout-concepts",
			"emoji/streamline/1f1f3-1f1f4 train",
		}},
		{"another vendor held out, with skin tones", Config{Vendors: []string{"streamline", "noto"}, HeldOutVendor: "noto", SkinTones: true}, []string{
			"emoji/noto/1f600 heldout-vendor",
			"emoji/noto/1f44b heldout-vendor",
			"emoji/noto/1f44b/dark-skin-tone heldout-vendor",
			"emoji/noto/0031-fe0f-20e3 heldout-vendor",
			"emoji/streamline/1f44b-1 train",
			"emoji/streamline/1f44b-2 train",
			"emoji/streamline/1f43b heldout-concepts",
			"emoji/streamline/1f1f3-1f1f4 train",
		}},
		{"no vendor held out", Config{Vendors: []string{"twemoji"}, HeldOutVendor: "none"}, []string{
			"emoji/twemoji/1f600 train",
			"emoji/twemoji/1f1f3-1f1f4 train",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := f.open(t, test.config)
			got := collect(t, s)
			if diff := cmp.Diff(test.want, summary(got)); diff != "" {
				t.Errorf("examples differ (-want +got):\n%s", diff)
			}
			if s.Len() != len(got) {
				t.Errorf("Len is %d, there are %d", s.Len(), len(got))
			}
			if diff := cmp.Diff(got, collect(t, f.open(t, test.config))); diff != "" {
				t.Errorf("a second run differs:\n%s", diff)
			}
		})
	}
}

func TestExampleContent(t *testing.T) {
	s := newFixture(t).open(t, Config{Size: 40})
	all := collect(t, s)
	byKey := map[string]source.Example{}
	for _, e := range all {
		byKey[e.Key] = e
	}
	keycap := byKey["emoji/noto/0031-fe0f-20e3"]
	want := map[string]string{"vendor": "noto", "style": "shaded", "hexcode": "0031-FE0F-20E3", "emoji": "?", "name": "keycap 1",
		"group": "symbols", "subgroup": "keycap", "tags": "", "concept": "trained"}
	if diff := cmp.Diff(want, keycap.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"keycap 1", "an emoji of keycap 1", "keycap 1, keycap", "symbols: keycap 1", "symbols, keycap"}, keycap.Captions); diff != "" {
		t.Errorf("captions differ (-want +got):\n%s", diff)
	}
	img, err := png.Decode(bytes.NewReader(keycap.Image))
	if err != nil || img.Bounds().Dx() != 40 || img.Bounds().Dy() != 40 {
		t.Errorf("the picture is %v (error %v), want a PNG of 40 by 40", img, err)
	}
	if got := byKey["emoji/streamline/1f43b"].Labels["concept"]; got != "heldout" {
		t.Errorf("the bear's concept is %q", got)
	}
	// WebP files are passed on as they are, the one with leading zeros in its name and the one without being the same.
	if got := string(byKey["emoji/fluent-3d/0031-fe0f-20e3"].Image); got != "RIFF one" && got != "RIFF twice" {
		t.Errorf("fluent-3d's keycap is %q", got)
	}
	if n := s.LeftOut()["noto"]; n != 1 {
		t.Errorf("%d of noto's drawings left out, want the clipped one", n)
	}
}

func TestEmojiAndLanguages(t *testing.T) {
	s := newFixture(t).open(t, Config{})
	var labels []string
	for _, e := range s.Emoji() {
		label := e.Label
		if e.HeldOut {
			label += " (held out)"
		}
		labels = append(labels, label)
	}
	want := []string{"grinning face", "waving hand", "man: red hair", "keycap: 1", "bear (held out)", "yellow heart", "flag: Norway"}
	if diff := cmp.Diff(want, labels); diff != "" {
		t.Errorf("base emoji differ (-want +got):\n%s", diff)
	}
	languages, err := s.Languages()
	if diff := cmp.Diff([]string{"de", "en"}, languages); err != nil || diff != "" {
		t.Errorf("languages %v (error %v)", languages, err)
	}
	german, err := s.Translations("de")
	if diff := cmp.Diff(map[string]Translation{"1F43B": {"Bär", []string{"Tier"}}}, german); err != nil || diff != "" {
		t.Errorf("German %v (error %v)", german, err)
	}
	if _, err := s.Translations("tlh"); err == nil || !strings.Contains(err.Error(), `"tlh"`) {
		t.Errorf("unknown language: %v", err)
	}
}

func TestStoppingEarly(t *testing.T) {
	s := newFixture(t).open(t, Config{})
	n := 0
	for _, err := range s.Examples(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	last := error(nil)
	for _, err := range s.Examples(ctx) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("cancelled: the last error is %v", last)
	}
}

// TestBrokenPackages: whatever is wrong inside a package, the error names its file.
func TestBrokenPackages(t *testing.T) {
	broken := map[string]map[string]string{
		emojibase: {"en/data.json": "[", "meta/groups.json": "{}"},
		"@iconify-json/noto": {
			"icons.json": "{}", "chars.json": "[]",
		},
		"@iconify-json/twemoji": {"icons.json": "nothing"},
	}
	for name, files := range broken {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.add(t, name, files)
			_, err := open(f.served, Config{Vendors: fixtureVendors}, f.table)
			want := filepath.Join(f.served, mangle(name)+"-1.0.0.tgz")
			if err == nil || !strings.HasPrefix(err.Error(), want+": ") {
				t.Errorf("error %v, want one that begins with %s", err, want)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		f := newFixture(t)
		path := filepath.Join(f.served, "emojibase-data-1.0.0.tgz")
		data, _ := os.ReadFile(path)
		os.WriteFile(path, data[:len(data)/2], 0o644)
		if _, err := open(f.served, Config{Vendors: fixtureVendors}, f.table); err == nil || !strings.Contains(err.Error(), "delete it and fetch it anew") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("absent", func(t *testing.T) {
		_, err := open(t.TempDir(), Config{}, packages)
		if !fault.IsUser(err) || !strings.Contains(err.Error(), "fetch the emoji packages first") {
			t.Errorf("error %v, want a user error", err)
		}
	})
	t.Run("drawing", func(t *testing.T) {
		f := newFixture(t)
		f.add(t, "@iconify-json/twemoji", map[string]string{
			"icons.json": `{"icons":{"x":{"body":"<path d='M0 0h8'/><text>no</text>"}},"width":8,"height":8}`, "chars.json": `{"1f600":"x"}`})
		f.table = slices.DeleteFunc(f.table, func(p pkg) bool { return p.Work == "@iconify-json/twemoji" && p.size > 400 })
		last := error(nil)
		for _, err := range f.open(t, Config{Vendors: []string{"twemoji"}}).Examples(t.Context()) {
			last = err
		}
		if last == nil || !strings.HasPrefix(last.Error(), "emoji/twemoji/1f600: ") {
			t.Errorf("error %v, want one that names the picture", last)
		}
	})
}

func TestConfig(t *testing.T) {
	tests := map[string]Config{
		`emoji: there is no vendor "apple"; there are noto, `:                 {Vendors: []string{"apple"}},
		`emoji: there is no vendor "x"`:                                       {HeldOutVendor: "x"},
		`emoji: the held-out vendor "noto" is not among the vendors emojione`: {Vendors: []string{"emojione"}, HeldOutVendor: "noto"},
		"emoji: size 7: pictures have a side of 32 to 512 pixels":             {Size: 7},
	}
	for want, config := range tests {
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) || !fault.IsUser(err) {
			t.Errorf("%+v: error %v, want the user error %q", config, err, want)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

// TestPins holds what the project promises of its downloads: open licences, named authors, 150 MB at most.
func TestPins(t *testing.T) {
	open := []string{"MIT", "Apache-2.0", "CC-BY-4.0"}
	total := int64(0)
	for _, p := range packages {
		total += p.size
		if !slices.Contains(open, p.SPDX) || p.Author == "" || p.Version == "" || p.Use == "" || len(p.sha512) != 88 {
			t.Errorf("%s: licence %q, author %q, use %q, sha512 of %d letters", p.Work, p.SPDX, p.Author, p.Use, len(p.sha512))
		}
	}
	if total > 150e6 {
		t.Errorf("the packages have %d bytes together, over 150 MB", total)
	}
	if got := len(neededPackages(Config{}, packages)); got != len(packages) || got != len(vendors)+1 {
		t.Errorf("%d packages for %d vendors, %d pinned", got, len(vendors), len(packages))
	}
	if got := len(neededPackages(Config{Vendors: []string{"noto"}}, packages)); got != 2 {
		t.Errorf("%d packages for one vendor, want its own and emojibase", got)
	}
	notice, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if !bytes.Contains(notice, []byte(p.Work+" "+p.Version)) {
			t.Errorf("NOTICE does not name %s %s", p.Work, p.Version)
		}
	}
}

// TestTranslatedNames: each picture has its emoji's name in every language that has one; without the option there is no
// such column.
func TestTranslatedNames(t *testing.T) {
	f := newFixture(t)
	for _, translated := range []bool{false, true} {
		s := f.open(t, Config{Vendors: []string{"streamline"}, HeldOutVendor: "none", Translations: translated})
		bears := 0
		for e, err := range s.Examples(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			want, english := "", ""
			if translated && e.Labels["hexcode"] == "1F43B" {
				want, english = "Bär", "bear"
				bears++
			}
			if e.Labels["name-de"] != want || want != "" && e.Labels["name-en"] != english {
				t.Errorf("%s: %v", e.Key, e.Labels)
			}
		}
		if translated != (bears == 1) || slices.Contains(s.Labels(), "name-de") != translated {
			t.Errorf("translated %t: %d bears, columns %v", translated, bears, s.Labels())
		}
	}
}

func TestSkinTone(t *testing.T) {
	for variant, want := range map[string]string{
		"": "", "dark skin tone": "dark skin tone", "dark skin tone, beard": "dark skin tone", "facing right": "",
		"light skin tone, medium skin tone": "light skin tone, medium skin tone", "light skin tone, facing right": "light skin tone",
	} {
		if got := skinTone(variant); got != want {
			t.Errorf("%q: %q, want %q", variant, got, want)
		}
	}
}
