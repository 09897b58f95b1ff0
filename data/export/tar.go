package export

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"tandem/data/shard"
)

// tarFile writes webdataset's layout: for each row KEY.jpg (or .png …), KEY.txt with the first caption, KEY.json with
// everything, and KEY.cls with the number of the class where the set has a fixed list of classes. KEY is the number of
// the file and of the row, as img2dataset has it; the row's own key is in the .json.
type tarFile struct {
	w       *tar.Writer
	number  int
	row     int
	classes map[string][]string
}

func newTar(w io.Writer, number int, m *shard.Manifest) *tarFile {
	classes := map[string][]string{}
	for label, names := range m.Classes {
		classes[label] = shard.DistinctNames(names)
	}
	return &tarFile{w: tar.NewWriter(w), number: number, classes: classes}
}

func (t *tarFile) add(r *shard.Row) error {
	key := fmt.Sprintf("%05d%06d", t.number, t.row)
	t.row++
	if err := t.member(key+"."+extension(r.Image), r.Image); err != nil {
		return err
	}
	caption := ""
	if len(r.Captions) > 0 {
		caption = r.Captions[0]
		if err := t.member(key+".txt", []byte(caption)); err != nil {
			return err
		}
	}
	fields := map[string]any{}
	for name, value := range r.Labels {
		fields[name] = value
	}
	for name, value := range map[string]any{"key": r.Key, "caption": caption, "captions": r.Captions, "width": r.Width, "height": r.Height, "source": r.Source} {
		fields[name] = value
	}
	text, err := json.Marshal(fields) // sorts the names
	if err != nil {
		return err
	}
	if err := t.member(key+".json", text); err != nil {
		return err
	}
	return t.class(key, r)
}

// class writes the number of the row's class in the first label that has a list of classes.
func (t *tarFile) class(key string, r *shard.Row) error {
	for _, label := range sortedNames(r.Labels) {
		if i := slices.Index(t.classes[label], r.Labels[label]); i >= 0 {
			return t.member(key+".cls", []byte(strconv.Itoa(i)))
		}
	}
	return nil
}

func (t *tarFile) member(name string, data []byte) error {
	err := t.w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = t.w.Write(data)
	}
	return err
}

func (t *tarFile) close() error { return t.w.Close() }
