package emoji

import (
	"errors"
	"image/color"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPhrase(t *testing.T) {
	tests := map[string]string{
		"grinning face":            "grinning face",
		"flag: Norway":             "flag of Norway",
		"keycap: 1":                "keycap 1",
		"man: blond hair":          "man with blond hair",
		"woman: bald":              "woman with bald",
		"family: man, woman, girl": "family of man, woman, girl",
		"kiss: woman, man":         "kiss, woman, man",
	}
	for label, want := range tests {
		if got := phrase(label); got != want {
			t.Errorf("%q becomes %q, want %q", label, got, want)
		}
	}
}

func TestCaptions(t *testing.T) {
	swimmer := &Emoji{Hexcode: "1F3CA", Label: "woman swimming", Tags: []string{"swim", "man", "freestyle", "sport", "Woman"}, Group: "people-body", Subgroup: "person-sport"}
	first := captions(variant{emoji: swimmer}, "noto")
	if diff := cmp.Diff(first, captions(variant{emoji: swimmer}, "noto")); diff != "" {
		t.Errorf("captions change from call to call:\n%s", diff)
	}
	differs := false
	for _, vendor := range []string{"twemoji", "emojione", "fxemoji"} {
		differs = differs || !cmp.Equal(first, captions(variant{emoji: swimmer}, vendor))
	}
	if !differs {
		t.Error("the tags are the same for four vendors")
	}
	for i, want := range []string{"woman swimming", "an emoji of woman swimming", "woman swimming, ", "woman swimming, person sport", "people body: woman swimming"} {
		if !strings.HasPrefix(first[i], want) {
			t.Errorf("caption %d is %q, want %q", i, first[i], want)
		}
	}
	for _, caption := range first {
		if regexp.MustCompile(`\bman\b`).MatchString(caption) {
			t.Errorf("caption %q calls a woman a man", caption)
		}
	}
	toned := captions(variant{swimmer, "dark skin tone"}, "noto")
	if toned[0] != "woman swimming with dark skin tone" {
		t.Errorf("caption %q does not tell the skin tone", toned[0])
	}
}

func TestPlainCodeAndFlags(t *testing.T) {
	for code, want := range map[string]string{"0031-FE0F-20E3": "31-20E3", "1f600": "1F600", "1f3f4-e0067_e0062": "1F3F4-E0067-E0062", "00a9": "A9"} {
		if got := plainCode(code); got != want {
			t.Errorf("plainCode(%q) = %q, want %q", code, got, want)
		}
	}
	for code, want := range map[string]bool{"1F1F3-1F1F4": true, "1F3F4-E0067-E0062-E0065-E006E-E0067-E007F": true, "1F600": false, "1F3F4": false, "1F1E": false} {
		if isFlag(code) != want {
			t.Errorf("isFlag(%q) = %v", code, !want)
		}
	}
}

// TestTables holds that the embedded tables are well formed and that their sections are in use.
func TestTables(t *testing.T) {
	rows, err := fields(namesText, 3)
	if err != nil || len(rows) < 300 {
		t.Fatalf("names.txt: %d rows, error %v", len(rows), err)
	}
	sections, sets := map[string]bool{}, map[string]bool{}
	for _, v := range vendors {
		for section := range strings.FieldsSeq(v.names) {
			sections[section] = true
		}
		sets[strings.TrimPrefix(v.pkg, "@iconify-json/")] = true
	}
	seen := map[string]bool{}
	code := regexp.MustCompile(`^(-|[0-9A-F]{4,6}(-[0-9A-F]{4,6})*)$`)
	for _, row := range rows {
		if !sections[row[0]] || !code.MatchString(row[2]) || seen[row[0]+" "+row[1]] {
			t.Errorf("names.txt: %q: unknown section, malformed code or second line of this name", row)
		}
		seen[row[0]+" "+row[1]] = true
	}
	rows, err = fields(misdrawnText, 2)
	if err != nil || len(rows) == 0 {
		t.Fatalf("misdrawn.txt: %d rows, error %v", len(rows), err)
	}
	for _, row := range rows {
		if !sets[row[0]] {
			t.Errorf("misdrawn.txt: no vendor uses the set %s", row[0])
		}
	}
	if _, err := fields("a b\n# x\nc\n", 2); err == nil {
		t.Error("a line with a word missing is accepted")
	}
}

func TestMatch(t *testing.T) {
	c, err := readCatalogue([]byte(emojibaseFixture(t)["en/data.json"]), []byte(emojibaseFixture(t)["meta/groups.json"]))
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMatcher(c, "cldr")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, code, suffix string }{
		{"bear", "1F43B", ""},
		{"bear-face", "1F43B", ""}, // names.txt
		{"bear-face-2", "1F43B", "-2"},
		{"keycap-1", "0031-FE0F-20E3", ""}, // the number belongs to the label
		{"flag-for-norway", "1F1F3-1F1F4", ""},
		{"flag-for-flag-norway", "1F1F3-1F1F4", ""},
		{"asterisk", "", ""}, // "-" in names.txt
		{"unheard-of", "", ""},
	}
	for _, test := range tests {
		e, suffix := m.match(test.name)
		code := ""
		if e != nil {
			code = e.Hexcode
		}
		if code != test.code || code != "" && suffix != test.suffix {
			t.Errorf("%s is %q%s, want %q%s", test.name, code, suffix, test.code, test.suffix)
		}
	}
}

// TestRender holds the workarounds for oksvg: gradients and strokes scale with the picture.
func TestRender(t *testing.T) {
	white := `<path fill="#fff" d="M0 0h10v10H0z"/>`
	gradient := `<linearGradient id="a" x1="0" x2="10" y1="0" y2="0" gradientUnits="userSpaceOnUse"><stop offset="0" stop-color="#000"/><stop offset="1" stop-color="#fff"/></linearGradient>`
	tests := []struct {
		name    string
		drawing drawing
		points  map[[2]int]color.RGBA // of 80 by 80 pixels
	}{
		{"fill", drawing{`<path fill="#f00" d="M0 0h5v10H0z"/>`, 0, 0, 10, 10}, map[[2]int]color.RGBA{{20, 40}: {255, 0, 0, 255}, {60, 40}: {}}},
		{"currentColor", drawing{`<path fill="currentColor" d="M0 0h5v10H0z"/>`, 0, 0, 10, 10}, map[[2]int]color.RGBA{{20, 40}: {0, 0, 0, 255}}},
		{"stroke of default width", drawing{white + `<path stroke="#000" fill="none" d="M0 5h10"/>`, 0, 0, 10, 10},
			map[[2]int]color.RGBA{{40, 37}: {0, 0, 0, 255}, {40, 42}: {0, 0, 0, 255}, {40, 34}: {255, 255, 255, 255}, {40, 45}: {255, 255, 255, 255}}},
		{"gradient", drawing{gradient + `<path fill="url(#a)" d="M0 0h10v10H0z"/>`, 0, 0, 10, 10},
			map[[2]int]color.RGBA{{4, 9}: {14, 14, 14, 255}, {40, 9}: {129, 129, 129, 255}, {76, 70}: {243, 243, 243, 255}}},
		{"wide, centred", drawing{`<path fill="#00f" d="M0 0h20v10H0z"/>`, 0, 0, 20, 10}, map[[2]int]color.RGBA{{40, 10}: {}, {40, 40}: {0, 0, 255, 255}, {2, 40}: {0, 0, 255, 255}, {40, 70}: {}}},
		{"shifted view box", drawing{`<path fill="#00f" d="M-5 -5h10v10h-10z"/>`, -5, -5, 10, 10}, map[[2]int]color.RGBA{{2, 2}: {0, 0, 255, 255}, {77, 77}: {0, 0, 255, 255}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img, err := test.drawing.render(80)
			if err != nil {
				t.Fatal(err)
			}
			for at, want := range test.points {
				got := img.RGBAAt(at[0], at[1])
				if d := contrast(got, want); d > 8 {
					t.Errorf("pixel %v is %v, want %v", at, got, want)
				}
			}
		})
	}
	for _, body := range []string{`<g clip-path="url(#a)"/>`, `<path mask="url(#a)"/>`, `<path filter="url(#a)"/>`, `<symbol id="a"/>`, `<radialGradient id="a" r="2" href="#b"/>`} {
		if _, err := (drawing{body, 0, 0, 8, 8}).render(32); !errors.Is(err, errUnsupported) {
			t.Errorf("%s: error %v, want a refusal", body, err)
		}
	}
}

func contrast(a, b color.RGBA) (d int) {
	for _, pair := range [][2]uint8{{a.R, b.R}, {a.G, b.G}, {a.B, b.B}, {a.A, b.A}} {
		d = max(d, int(pair[0])-int(pair[1]), int(pair[1])-int(pair[0]))
	}
	return d
}

func TestUnmultiply(t *testing.T) {
	for _, c := range []color.RGBA{{}, {1, 2, 3, 255}, {10, 20, 30, 100}, {127, 0, 128, 128}, {1, 0, 0, 1}} {
		got := make([]uint8, 4)
		unmultiply(got, []uint8{c.R, c.G, c.B, c.A})
		want := color.NRGBAModel.Convert(c).(color.NRGBA)
		if d := contrast(color.RGBA{got[0], got[1], got[2], got[3]}, color.RGBA(want)); d > 1 {
			t.Errorf("%v becomes %v, want %v", c, got, want)
		}
	}
}
