package stats

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"html/template"
	"image/png"
	"io"
	"maps"
	"slices"
	"strings"

	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/progress"
)

//go:embed page.html
var pageSource string

var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"bytes": progress.FormatBytes,
	"join":  strings.Join,
}).Parse(pageSource))

// card is a sample on a page.
type card struct {
	Picture  template.URL // a data URL, or empty
	Problem  string
	Where    string
	Key      string
	Size     string
	Captions []string
	Labels   []string
}

// thumbSide is the side of pictures on pages, in pixels.
const thumbSide = 160

func cards(samples []Sample) []card {
	d := imaging.NewDecoder(imaging.DefaultLimits())
	all := make([]card, len(samples))
	for i, s := range samples {
		all[i] = card{Where: where(s), Key: s.Key, Captions: s.Captions, Labels: Labels(s)}
		all[i].Size = sizeText(s)
		m, err := thumbnail(d, s.Image, thumbSide)
		if err != nil {
			all[i].Problem = err.Error()
			continue
		}
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			all[i].Problem = err.Error()
			continue
		}
		all[i].Picture = dataURL("image/png", b.Bytes())
	}
	return all
}

func dataURL(mime string, data []byte) template.URL {
	return template.URL("data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(data))
}

// Labels lists a sample's labels as "name: value", sorted.
func Labels(s Sample) []string {
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		labels = append(labels, name+": "+s.Labels[name])
	}
	return labels
}

// WriteSamples writes a self-contained HTML page with samples and what the manifest says.
func WriteSamples(w io.Writer, set *shard.Set, samples []Sample) error {
	return pages.Execute(w, page{Title: "Samples of " + set.Location(), Manifest: set.Manifest, Cards: cards(samples)})
}

// page is what page.html shows; empty parts are left out.
type page struct {
	Title    string
	Manifest *shard.Manifest
	Cards    []card
	Plots    []plotted
	Notes    []string
}

// plotted is a drawing with its title and one sentence about it.
type plotted struct {
	Title string
	Text  string
	SVG   template.HTML
}
