package emoji

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tandem/data/source"
)

// tarball packs files as npm does, under "package/".
func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	archive := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: "package/" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		archive.Write([]byte(files[name]))
	}
	if archive.Close() != nil || zipped.Close() != nil {
		t.Fatal("the tarball cannot be written")
	}
	return buf.Bytes()
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// entry is an emoji in emojibase's format.
func entry(order int, code, label string, group, subgroup int, tags ...string) map[string]any {
	return map[string]any{"hexcode": code, "label": label, "emoji": "?", "order": order, "group": group, "subgroup": subgroup, "tags": tags}
}

func emojibaseFixture(t *testing.T) map[string]string {
	wave := entry(3, "1F44B", "waving hand", 1, 10, "bye", "hello", "wave", "hi")
	wave["skins"] = []any{map[string]any{"label": "waving hand: dark skin tone", "hexcode": "1F44B-1F3FF", "order": 4}}
	// Out of order, with a regional indicator (no group) and a component, neither of which is a base emoji.
	data := []any{
		map[string]any{"hexcode": "1F1E6", "label": "regional indicator A"},
		entry(9, "1F3FF", "dark skin tone", 2, 20),
		entry(20, "1F1F3-1F1F4", "flag: Norway", 9, 90, "NO"),
		entry(1, "1F600", "grinning face", 0, 1, "face", "grin", "happy", "smile", "nice"),
		wave,
		entry(5, "1F468-200D-1F9B0", "man: red hair", 1, 11, "adult"),
		entry(7, "0031-FE0F-20E3", "keycap: 1", 8, 80),
		entry(8, "1F43B", "bear", 3, 30, "animal"),
		entry(12, "1F49B", "yellow heart", 0, 2, "heart", "yellow"),
	}
	german := []any{map[string]any{"hexcode": "1F43B", "label": "Bär", "tags": []string{"Tier"}, "order": 8, "group": 3, "subgroup": 30}}
	groups := map[string]any{
		"groups":    map[string]string{"0": "smileys-emotion", "1": "people-body", "2": "component", "3": "animals-nature", "8": "symbols", "9": "flags"},
		"subgroups": map[string]string{"1": "face-smiling", "2": "heart", "10": "hand-fingers-open", "11": "person", "20": "skin-tone", "30": "animal-mammal", "80": "keycap", "90": "country-flag"},
	}
	return map[string]string{"en/data.json": toJSON(t, data), "de/data.json": toJSON(t, german), "meta/groups.json": toJSON(t, groups)}
}

// icons is a set in Iconify's format; every icon is a square in its own colour.
func icons(t *testing.T, names ...string) string {
	set := map[string]any{}
	for i, name := range names {
		set[name] = map[string]any{"body": fmt.Sprintf(`<path fill="#%02x8040" d="M0 0h8v8H0z"/>`, 16*i+15)}
	}
	set["clipped"] = map[string]any{"body": `<g clip-path="url(#a)"><path d="M0 0h8v8H0z"/></g>`}
	return toJSON(t, map[string]any{"icons": set, "width": 8, "height": 8})
}

// fixture is a set of small packages: what npm would serve, and their pins.
type fixture struct {
	table  []pkg
	served string // directory of tarballs
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{served: t.TempDir()}
	f.add(t, emojibase, emojibaseFixture(t))
	f.add(t, "@iconify-json/noto", map[string]string{
		"icons.json": icons(t, "grinning-face", "waving-hand", "waving-hand-dark", "bear-face", "keycap-1"),
		"chars.json": toJSON(t, map[string]string{"1f600": "grinning-face", "1f44b": "waving-hand", "1f44b-1f3ff": "waving-hand-dark",
			"31-20e3": "keycap-1", "1f43b": "clipped", "1f468-200d-1f9b0": "absent", "e50a": "bear-face"}),
	})
	f.add(t, "@iconify-json/twemoji", map[string]string{
		"icons.json": icons(t, "grinning", "flag-norway"),
		"chars.json": toJSON(t, map[string]string{"1f600": "grinning", "1f1f3-1f1f4": "flag-norway"}),
	})
	f.add(t, "@iconify-json/streamline-emojis", map[string]string{
		"icons.json": icons(t, "bear-face", "waving-hand-1", "waving-hand-2", "flag-for-norway", "something-else"),
	})
	f.add(t, "@lobehub/fluent-emoji-3d", map[string]string{
		"assets/1f600.webp": "RIFF grinning", "assets/1f1f3-1f1f4.webp": "RIFF flag", "assets/31-fe0f-20e3.webp": "RIFF twice",
		"assets/0031-fe0f-20e3.webp": "RIFF one", "assets/1f44b-1f3ff.webp": "RIFF dark wave", "assets/readme.txt": "",
	})
	f.add(t, "@iconify-json/fluent-emoji-high-contrast", map[string]string{
		"icons.json": icons(t, "grinning-face", "yellow-heart"),
		"chars.json": toJSON(t, map[string]string{"1f600": "grinning-face", "1f49b": "yellow-heart"}),
	})
	return f
}

var fixtureVendors = []string{"noto", "twemoji", "streamline", "fluent-3d", "fluent-mono"}

func (f *fixture) add(t *testing.T, name string, files map[string]string) {
	t.Helper()
	data := tarball(t, files)
	sum := sha512.Sum512(data)
	p := pkg{source.Licence{Work: name, Version: "1.0.0"}, base64.StdEncoding.EncodeToString(sum[:]), int64(len(data))}
	f.table = append(f.table, p)
	if err := os.WriteFile(filepath.Join(f.served, p.file()), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open opens the fixture's packages as if they were fetched.
func (f fixture) open(t *testing.T, config Config) *Source {
	t.Helper()
	if config.Vendors == nil {
		config.Vendors = fixtureVendors
	}
	s, err := open(f.served, config, f.table)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
