package packaged

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/source"
)

// categoryLabel is the label column of the topmost directory.
const categoryLabel = "category"

// drawingSide is the shortest side that larger drawings are reduced to.
const drawingSide = 256

// stamps are the PNG pictures of Tux Paint's stamps, photographs and drawings on transparent ground, with the sentence
// that the program shows for each. Stamps drawn as SVG are not used.
var stamps = set{
	packages: []pkg{deb{
		Licence: source.Licence{Work: "tuxpaint-stamps-default", Author: "Bill Kendrick and contributors", SPDX: "GPL-2.0-only", Use: "pictures and captions"},
		dir:     "usr/share/tuxpaint/stamps",
	}},
	read:    readStamps,
	options: build.Options{Dedup: "exact", Images: build.ImageOptions{Fit: drawingSide}},
}

func readStamps(from []unpacked) (ingest.Input, error) {
	var all []ingest.Row
	err := eachFile(from[0], ".png", func(name string) error {
		if strings.HasSuffix(name, "_mirror.png") || strings.HasSuffix(name, "_flip.png") {
			return nil // the same stamp, turned
		}
		caption, err := stampCaption(from[0], trimExt(name)+".txt")
		if err != nil {
			return err
		}
		r := drawing(from[0], name)
		if caption != "" { // else the build counts a row without caption
			r.Captions = []string{caption}
		}
		r.Split = splitBy(strings.ToLower(caption), 0.1, 0.2)
		all = append(all, r)
		return nil
	})
	return rowsOf("stamps", all, err)
}

// stampCaption is the first line of the text beside a stamp; the others are translations.
func stampCaption(fsys fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), nil
}

// openclipart are drawings by many hands. The pictures come as PNG; their titles are in the SVG files of the sister
// package.
var openclipart = set{
	packages: []pkg{
		deb{
			Licence: source.Licence{Work: "openclipart-png", Author: "the contributors of openclipart.org", SPDX: "CC-PDDC", Use: "pictures"},
			dir:     "usr/share/openclipart/png",
		},
		deb{
			Licence: source.Licence{Work: "openclipart-svg", Author: "the contributors of openclipart.org", SPDX: "CC-PDDC", Use: "titles, descriptions and keywords"},
			dir:     "usr/share/openclipart/svg",
		},
	},
	read:    readOpenclipart,
	options: build.Options{Dedup: "exact", Images: build.ImageOptions{Fit: drawingSide, MinSide: 16}, Captions: build.CaptionOptions{MinChars: 3}},
}

// maxSameTitle is the number of drawings from which on a title names a collection and says nothing of the picture, as in
// "Lemon SVG theme".
const maxSameTitle = 3

// Label columns of openclipart besides the category.
const (
	descriptionLabel = "description"
	keywordsLabel    = "keywords"
)

func readOpenclipart(from []unpacked) (ingest.Input, error) {
	var all []ingest.Row
	about := map[string]svgText{}
	uses := map[string]int{} // of titles and descriptions
	err := eachFile(from[0], ".png", func(name string) error {
		text, err := readSVGText(from[1], trimExt(name)+".svg")
		if err != nil {
			return err
		}
		about[name] = text
		uses[strings.ToLower(text.title)]++
		if text.description != text.title {
			uses[strings.ToLower(text.description)]++
		}
		return nil
	})
	for _, name := range slices.Sorted(maps.Keys(about)) {
		text := about[name]
		title := strings.ToLower(text.title)
		if title == "" || uses[title] > maxSameTitle || strings.HasPrefix(name, "special/") {
			continue // patterns and gradients are special
		}
		if uses[strings.ToLower(text.description)] > maxSameTitle || strings.Contains(text.description, "@") {
			text.description = "" // of a collection, or of its author
		}
		r := drawing(from[0], name)
		r.Captions = []string{text.title}
		for label, value := range map[string]string{descriptionLabel: text.description, keywordsLabel: strings.Join(text.keywords, ", ")} {
			if value != "" {
				r.Labels[label] = value
			}
		}
		r.Split = splitBy(title, 0.1, 0.2)
		all = append(all, r)
	}
	return rowsOf("openclipart", all, err)
}

func rowsOf(name string, all []ingest.Row, err error) (ingest.Input, error) {
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the package has no pictures")
	}
	return rows{Input: ingest.FromRows(name, all...)}, nil
}

// drawing is the row of a picture file, with its category.
func drawing(fsys fs.FS, name string) ingest.Row {
	r := ingest.Row{Load: loadFrom(fsys, name)}
	r.Key = trimExt(name)
	r.Labels = map[string]string{}
	if category, _, nested := strings.Cut(name, "/"); nested {
		r.Labels[categoryLabel] = category
	}
	return r
}

// eachFile calls f for the regular files with this extension, in the order of their names. Links, which give a picture a
// second name, are left out.
func eachFile(fsys fs.FS, ext string, f func(name string) error) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path.Ext(name) != ext {
			return err
		}
		return f(name)
	})
}

// svgText is what an SVG file says of itself in its metadata (Dublin Core in RDF).
type svgText struct {
	title, description string
	keywords           []string
}

// signature is what some contributors put in front of all their titles.
var signature = regexp.MustCompile(`(?i)^clip ?art by [^-]* - `)

// accident is what a broken upload script left in place of texts.
var accident = regexp.MustCompile(`(?i)^hash(\(0x[0-9a-f]+\))?$|^0x[0-9a-f]+$`)

// maxSVG bounds a file that is read for its titles.
const maxSVG = 32 << 20

// readSVGText reads the metadata. A file that is missing or cannot be parsed to its end has what was found until there.
func readSVGText(fsys fs.FS, name string) (svgText, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return svgText{}, nil //nolint:nilerr // some drawings have no sister
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSVG))
	if err != nil {
		return svgText{}, err
	}
	t := parseSVGText(data)
	t.title = clean(signature.ReplaceAllString(t.title, ""))
	t.description = clean(t.description)
	for i, k := range t.keywords {
		t.keywords[i] = clean(k)
	}
	t.keywords = slices.DeleteFunc(t.keywords, func(k string) bool { return k == "" })
	return t, nil
}

func clean(s string) string {
	s = strings.Join(strings.Fields(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "_", " ")), " ")
	if accident.MatchString(s) {
		return ""
	}
	return s
}

// parseSVGText looks at the first Work element of the metadata, and at the drawing's own title where that has none.
func parseSVGText(data []byte) (t svgText) {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = false
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	var inside []string
	own := ""
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch token := token.(type) {
		case xml.StartElement:
			inside = append(inside, token.Name.Local)
		case xml.EndElement:
			inside = inside[:max(0, len(inside)-1)]
		case xml.CharData:
			t.take(inside, string(token), &own)
		}
	}
	if strings.TrimSpace(t.title) == "" {
		t.title = own
	}
	return t
}

// take adds a text by the path of the elements that it stands in.
func (t *svgText) take(inside []string, text string, own *string) {
	at := strings.Join(inside, "/")
	switch {
	case strings.HasSuffix(at, "RDF/Work/title"):
		t.title += text
	case strings.HasSuffix(at, "RDF/Work/description"):
		t.description += text
	case strings.HasSuffix(at, "RDF/Work/subject/Bag/li"):
		t.keywords = append(t.keywords, text)
	case at == "svg/title":
		*own += text
	}
}
