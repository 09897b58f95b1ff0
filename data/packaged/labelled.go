package packaged

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/source"
	"tandem/internal/fault"
)

// classLabel is the label column of the classes.
const classLabel = "class"

// textile are 2,000 simulated pictures of a fabric, 250×250 pixels: 1,000 without defect, 500 with a local one (a spot of
// other structure), 500 with a global one (the weave as a whole is off). F. M. Megahed, Y.-J. Chen and others, 2025.
var textile = set{
	packages: []pkg{wheel{
		Licence: source.Licence{Work: "conformal-clip-data", Version: "0.1.4", Author: "Fadel M. Megahed, Ying-Ju (Tessa) Chen", SPDX: "MIT", Use: "pictures and classes"},
		file:    "conformal_clip_data-0.1.4-py3-none-any.whl",
		sha256:  "00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb",
		size:    42144952,
	}},
	read: readTextile,
}

// textileClasses are the directories of the wheel with what they hold.
var textileClasses = []struct{ dir, class string }{
	{"nominal", "no defect"},
	{"local", "a local defect"},
	{"global", "a global defect"},
}

const textileTemplate = "a photo of a textile with {class}"

func readTextile(from []unpacked) (ingest.Input, error) {
	const root = "conformal_clip_data/data/textile_images/simulated"
	var all []ingest.Row
	var names []string
	for _, c := range textileClasses {
		names = append(names, c.class)
		files, err := fs.Glob(from[0], path.Join(root, c.dir, "*.jpg"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("the package has no pictures in %s/%s", root, c.dir)
		}
		splits := shareOut(files, 0.2, 0.2)
		for i, name := range files {
			r := ingest.Row{Load: loadFrom(from[0], name)}
			r.Key = c.dir + "/" + trimExt(path.Base(name))
			r.Captions = []string{"a photo of a textile with " + c.class}
			r.Labels = map[string]string{classLabel: c.class}
			r.Split = splits[i]
			all = append(all, r)
		}
	}
	return rows{ingest.FromRows("textile", all...), map[string][]string{classLabel: names}, []string{textileTemplate}}, nil
}

// shareOut gives each name a split: exactly these shares of the names, chosen by their hashes, so that every class has
// the same shares.
func shareOut(names []string, valShare, testShare float64) []string {
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(hash(names[a]), hash(names[b])), cmp.Compare(a, b))
	})
	splits := make([]string, len(names))
	for place, i := range order {
		switch at := (float64(place) + 0.5) / float64(len(names)); {
		case at < testShare:
			splits[i] = test
		case at < testShare+valShare:
			splits[i] = val
		default:
			splits[i] = train
		}
	}
	return splits
}

func trimExt(name string) string { return name[:len(name)-len(path.Ext(name))] }

// fashion are Zalando's 70,000 grey pictures of articles, 28×28 pixels. One of twelve training rows is set aside.
var fashion = set{
	packages: []pkg{deb{
		Licence: source.Licence{Work: "dataset-fashion-mnist", Author: "Zalando SE", SPDX: "MIT", Use: "pictures and classes"},
		dir:     "usr/share/datasets/fashion-mnist",
	}},
	read:    readFashion,
	options: build.Options{Holdout: map[string]float64{val: 1. / 12}},
}

// fashionClasses are the names of the labels 0 to 9, as the data set's own documentation has them.
var fashionClasses = []string{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}

const fashionTemplate = "a photo of a {class}"

func readFashion(from []unpacked) (ingest.Input, error) {
	if from[0].dir == "" {
		return nil, fault.Userf("IDX files are read from a directory")
	}
	in, err := ingest.Open(from[0].dir, ingest.Options{From: "idx", Name: "fashion-mnist", ClassNames: fashionClasses, Templates: []string{fashionTemplate}})
	if err != nil {
		return nil, err
	}
	return rows{in, in.Classes(), []string{fashionTemplate}}, nil
}
