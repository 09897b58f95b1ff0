package shapes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/data/source"
	"tandem/internal/fault"
)

func newSource(t testing.TB, config Config) *Source {
	t.Helper()
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

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

// described lists all examples without their pictures.
func described(s *Source) (all []source.Example) {
	for _, split := range s.splits() {
		for i := range split.n {
			drawn := s.scene(split, uint64(i))
			all = append(all, source.Example{Key: fmt.Sprint(split.name, i), Captions: drawn.captions(), Labels: drawn.labels(), Split: split.name})
		}
	}
	return all
}

func decode(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestGolden holds every byte: pictures, captions and labels must not change with the machine, the Go release or a
// careless edit, because shards' hashes and the golden loss curve depend on them. A change on purpose renews the sums
// here and the version in data/prepare, so that shards on disk are not taken for the new ones.
func TestGolden(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{Config{Train: 200, Test: 50, HeldOut: 50}, "d71fae34edf53031a030aa9c43bee1d74cda7f17754ac545b9af51147d4fc300"},
		{Config{Seed: 7, Size: 96, Train: 50}, "ad946445d83ffcdab0ddb8090229f6aa75a699138cba569aeb95789718f97d19"},
	}
	for _, test := range tests {
		hash := sha256.New()
		for _, e := range collect(t, newSource(t, test.config)) {
			hash.Write([]byte(e.Key + "|" + e.Split + "|" + strings.Join(e.Captions, "|")))
			for _, key := range slices.Sorted(mapsKeys(e.Labels)) {
				hash.Write([]byte("|" + key + "=" + e.Labels[key]))
			}
			hash.Write(e.Image)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != test.want {
			t.Errorf("%+v: sha256 %s, want %s", test.config, got, test.want)
		}
	}
}

func TestExamplesAreIndependentOfOrderAndWorkers(t *testing.T) {
	config := Config{Seed: 3, Train: 40}
	want := collect(t, newSource(t, config))
	s := newSource(t, config)
	got := make([]source.Example, len(want))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := len(want) - 1 - worker; i >= 0; i -= 4 {
				got[i], _ = s.At(source.Train, uint64(i))
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("backwards from four goroutines differs (-want +got):\n%s", diff)
	}
}

func TestSplits(t *testing.T) {
	seen := map[string]map[string]bool{}
	for _, e := range described(newSource(t, Config{Train: 3000, Test: 500, HeldOut: 500})) {
		if seen[e.Split] == nil {
			seen[e.Split] = map[string]bool{}
		}
		seen[e.Split][e.Labels["colour"]+" "+e.Labels["shape"]] = true
		if HeldOut(e.Labels["colour"], e.Labels["shape"]) != (e.Split == HeldOutPairs) {
			t.Fatalf("%s shows a %s %s", e.Split, e.Labels["colour"], e.Labels["shape"])
		}
		if e.Labels["kind"] == KindPair && HeldOut(e.Labels["colour2"], e.Labels["shape2"]) != (e.Split == HeldOutPairs) {
			t.Fatalf("%s shows a second object %s %s", e.Split, e.Labels["colour2"], e.Labels["shape2"])
		}
	}
	all := len(Colours()) * len(Shapes())
	if n, m := len(seen[source.Train]), len(seen[HeldOutPairs]); n+m != all || m != all/6 {
		t.Errorf("train shows %d pairs and %s %d, want all %d together and a sixth held out", n, HeldOutPairs, m, all)
	}
	for _, names := range [][]string{Colours(), Shapes()} {
		for _, name := range names {
			for split, pairs := range seen {
				if !slices.ContainsFunc(slices.Collect(mapsKeys(pairs)), func(pair string) bool { return slices.Contains(strings.Fields(pair), name) }) {
					t.Errorf("%s never shows %q", split, name)
				}
			}
		}
	}
}

// TestPicturesShowWhatTheyClaim decodes pictures and looks: the object's colour is found at its place in about the right
// amount, and a count of n has n separate blobs.
func TestPicturesShowWhatTheyClaim(t *testing.T) {
	s := newSource(t, Config{Train: 320})
	for _, e := range collect(t, s) {
		img := decode(t, e.Image)
		if img.Bounds() != image.Rect(0, 0, 64, 64) {
			t.Fatalf("%s is %v", e.Key, img.Bounds())
		}
		paint := colours[slices.Index(Colours(), e.Labels["colour"])].rgb
		blobs, cx, cy := blobsOf(img, paint)
		want := e.Labels["count"]
		if e.Labels["kind"] == KindPair {
			want = "1" // of this colour
		}
		if got := strconv.Itoa(blobs); got != want {
			t.Errorf("%s (%s): %s blobs of the colour, want %s", e.Key, e.Captions[0], got, want)
		}
		for _, p := range places {
			if p.name == e.Labels["position"] && (sign(cx-32, 4) != p.dx || sign(cy-32, 4) != p.dy) {
				t.Errorf("%s: the object's centre is (%d, %d), said to be %s", e.Key, cx, cy, p.phrase)
			}
		}
		for _, r := range relations {
			if r.name == e.Labels["relation"] && (sign(cx-32, 5) != r.dx || sign(cy-32, 5) != r.dy) {
				t.Errorf("%s: the first object's centre is (%d, %d), said to be %s", e.Key, cx, cy, r.name)
			}
		}
	}
}

func sign(x, dead int) int {
	switch {
	case x > dead:
		return 1
	case x < -dead:
		return -1
	}
	return 0
}

// blobsOf counts the connected areas of more than four pixels near a colour, and returns the centre of their box.
func blobsOf(img image.Image, want rgb) (blobs, cx, cy int) {
	side := img.Bounds().Dx()
	pixels := image.NewRGBA(img.Bounds())
	draw.Draw(pixels, pixels.Rect, img, image.Point{}, draw.Src)
	near := func(x, y int) bool {
		c := pixels.RGBAAt(x, y)
		return contrast(rgb{c.R, c.G, c.B}, want) < 50
	}
	seen := make([]bool, side*side)
	box := image.Rectangle{}
	var visit func(x, y int, area *image.Rectangle) int
	visit = func(x, y int, area *image.Rectangle) int {
		if x < 0 || y < 0 || x >= side || y >= side || seen[y*side+x] || !near(x, y) {
			return 0
		}
		seen[y*side+x] = true
		*area = area.Union(image.Rect(x, y, x+1, y+1))
		n := 1
		for dy := -1; dy <= 1; dy++ {
			for dx := -1; dx <= 1; dx++ {
				n += visit(x+dx, y+dy, area)
			}
		}
		return n
	}
	for y := range side {
		for x := range side {
			area := image.Rectangle{}
			if visit(x, y, &area) > 4 {
				blobs++
				box = box.Union(area)
			}
		}
	}
	return blobs, (box.Min.X + box.Max.X) / 2, (box.Min.Y + box.Max.Y) / 2
}

func TestCaptionsAreTrueAndDistinct(t *testing.T) {
	for _, e := range described(newSource(t, Config{Train: 500})) {
		if len(e.Captions) < 4 || len(slices.Compact(slices.Sorted(slices.Values(e.Captions)))) != len(e.Captions) {
			t.Fatalf("%s: captions %q: want four or more, all different", e.Key, e.Captions)
		}
		for _, caption := range e.Captions {
			if strings.HasSuffix(caption, " objects") && e.Labels["kind"] == KindMany {
				continue // only the number
			}
			if !strings.Contains(caption, e.Labels["colour"]) || !strings.Contains(caption, e.Labels["shape"]) {
				t.Errorf("%s: caption %q does not name a %s %s", e.Key, caption, e.Labels["colour"], e.Labels["shape"])
			}
			if strings.Contains(caption, " a o") || strings.Contains(caption, "crosss") {
				t.Errorf("%s: caption %q is not English", e.Key, caption)
			}
		}
	}
}

func TestProbes(t *testing.T) {
	s := newSource(t, Config{Seed: 1})
	for _, kind := range ProbeKinds() {
		for i := range uint64(15) {
			p, err := s.Probe(kind, i)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := s.Probe(kind, i)
			if diff := cmp.Diff(p, again); diff != "" {
				t.Fatalf("%s differs the second time: %s", p.Key, diff)
			}
			decode(t, p.Image)
			if len(p.Wrong) == 0 || slices.Contains(p.Wrong, p.Correct) {
				t.Errorf("%s: correct %q among wrong %q", p.Key, p.Correct, p.Wrong)
			}
			if HeldOut(p.Labels["colour"], p.Labels["shape"]) {
				t.Errorf("%s shows a held-out pair", p.Key)
			}
			checkProbe(t, p)
		}
	}
	if _, err := s.Probe("taste", 0); !fault.IsUser(err) || !strings.Contains(err.Error(), `no probe "taste"`) {
		t.Errorf("unknown probe: %v", err)
	}
}

// checkProbe compares a probe's statements with the labels of its picture.
func checkProbe(t *testing.T, p Probe) {
	t.Helper()
	n, _ := strconv.Atoi(p.Labels["count"])
	present := "without " + article(p.Labels["shape"])
	ok := true
	switch p.Kind {
	case ProbeCount:
		ok = strings.HasPrefix(p.Correct, numbers[n]+" ") && len(p.Wrong) == 5
	case ProbePosition:
		ok = strings.Contains(p.Correct, p.Labels["position"]) && len(p.Wrong) == 4
	case ProbeRelation:
		ok = strings.Contains(p.Correct, p.Labels["shape"]+" "+p.Labels["relation"])
	case ProbeBinding:
		ok = strings.Contains(p.Correct, p.Labels["name"]) && !strings.Contains(p.Wrong[0], p.Labels["name"])
	case ProbeNegation:
		ok = !strings.HasSuffix(p.Correct, present) && strings.HasSuffix(p.Wrong[0], present)
	case ProbeWritten:
		ok = strings.HasSuffix(p.Correct, p.Labels["shape"])
	case ProbeReading:
		ok = !strings.Contains(p.Correct, p.Labels["shape"]) && len(p.Wrong) == len(Shapes())-1
	}
	if !ok {
		t.Errorf("%s: correct %q, wrong %q, labels %v", p.Key, p.Correct, p.Wrong, p.Labels)
	}
}

// TestWrittenWordIsThere looks at the band, so that the band is neither empty nor covered.
func TestWrittenWordIsThere(t *testing.T) {
	for _, side := range []int{64, 120} {
		s := newSource(t, Config{Size: side})
		for i := range uint64(12) {
			p, err := s.Probe(ProbeReading, i)
			if err != nil {
				t.Fatal(err)
			}
			img := decode(t, p.Image)
			dark, scale := 0, side/minWrittenSize
			for y := side - side/32 - 13*scale; y < side-side/32; y++ {
				for x := range side {
					c := color.GrayModel.Convert(img.At(x, y)).(color.Gray)
					if c.Y != 0 && c.Y != 255 {
						t.Fatalf("%s: the band is not black on white at (%d, %d)", p.Key, x, y)
					}
					if c.Y == 0 {
						dark++
					}
				}
			}
			letters := len(p.Correct) - len(`the word ""`)
			if dark < 8*letters*scale*scale {
				t.Errorf("%s: %d dark pixels for %s", p.Key, dark, p.Correct)
			}
		}
	}
	if _, err := newSource(t, Config{Size: 32}).Probe(ProbeWritten, 0); !fault.IsUser(err) {
		t.Errorf("a word on 32 pixels: %v, want a user error", err)
	}
}

func TestMasksFillTheirSquare(t *testing.T) {
	for shape, name := range shapeNames {
		m := newMask(shape, 14)
		sum, side := 0, 2*m.radius+1
		for i, coverage := range m.coverage {
			sum += int(coverage)
			// Every shape but the crescent is its own mirror image.
			if mirrored := m.coverage[i-i%side+side-1-i%side]; name != "crescent" && coverage != mirrored {
				t.Fatalf("%s: pixel %d covered by %d, its mirror image by %d", name, i, coverage, mirrored)
			}
		}
		if share := sum * 100 / (255 * side * side); share < 20 || share > 80 {
			t.Errorf("%s covers %d %% of its square", name, share)
		}
	}
}

func TestConfigAndContext(t *testing.T) {
	for _, config := range []Config{{Size: 8}, {Size: 1000}, {Train: -1}} {
		if _, err := New(config); !fault.IsUser(err) {
			t.Errorf("%+v: error %v, want a user error", config, err)
		}
	}
	if _, err := newSource(t, Config{}).At("dev", 0); !fault.IsUser(err) {
		t.Errorf("unknown split: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range newSource(t, Config{Train: 1}).Examples(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func mapsKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// TestContactSheet writes a sheet to look at when SHAPES_SHEET names a file; it always checks that it could.
func TestContactSheet(t *testing.T) {
	s := newSource(t, Config{Train: 96})
	const columns = 16
	sheet := image.NewNRGBA(image.Rect(0, 0, columns*66, 12*66))
	put := func(i int, data []byte) {
		at := image.Pt(i%columns*66, i/columns*66)
		draw.Draw(sheet, image.Rectangle{at, at.Add(image.Pt(64, 64))}, decode(t, data), image.Point{}, draw.Src)
	}
	for i, e := range collect(t, s) {
		put(i, e.Image)
	}
	for k, kind := range ProbeKinds() {
		for i := range 12 {
			p, err := s.Probe(kind, uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			put(96+k*12+i, p.Image)
		}
	}
	if path := os.Getenv("SHAPES_SHEET"); path != "" {
		var buf bytes.Buffer
		if err := errors.Join(png.Encode(&buf, sheet), os.WriteFile(path, buf.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkExample(b *testing.B) {
	s := newSource(b, Config{})
	b.ReportAllocs()
	size := 0
	for i := 0; b.Loop(); i++ {
		e, _ := s.At(source.Train, uint64(i))
		size += len(e.Image)
	}
	b.ReportMetric(float64(size)/float64(b.N), "bytes/image")
}
