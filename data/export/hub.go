package export

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"

	"tandem/data/shard"
	"tandem/internal/progress"
)

// hubFile writes parquet as Hugging Face's datasets does: image is struct{bytes, path}, features stand in the metadata,
// row groups are small.
type hubFile struct {
	w      *parquet.GenericWriter[any]
	schema *parquet.Schema
	labels []string
	rows   int
}

// hubGroup is the number of rows of a group, as datasets has it for pictures.
const hubGroup = 100

func newHub(w io.Writer, m *shard.Manifest) (*hubFile, error) {
	labels := m.Columns(shard.RoleLabel)
	group := parquet.Group{
		"image":    parquet.Optional(parquet.Group{"bytes": parquet.Optional(parquet.Leaf(parquet.ByteArrayType)), "path": parquet.Optional(parquet.String())}),
		"captions": parquet.List(parquet.String()), // elements that may be null come out null from Deconstruct
		"key":      parquet.Optional(parquet.String()),
		"source":   parquet.Optional(parquet.String()),
	}
	features := map[string]any{
		"image":    map[string]any{"_type": "Image"},
		"captions": map[string]any{"feature": text(), "_type": "List"},
		"key":      text(), "source": text(),
	}
	for _, l := range labels {
		group[l], features[l] = parquet.Optional(parquet.String()), text()
	}
	info, err := json.Marshal(map[string]any{"info": map[string]any{"features": features}})
	if err != nil {
		return nil, err
	}
	schema := parquet.NewSchema("schema", group)
	f := &hubFile{schema: schema, labels: labels}
	f.w = parquet.NewGenericWriter[any](w, schema, parquet.Compression(&parquet.Uncompressed), parquet.DataPageVersion(1),
		parquet.CreatedBy("tandem", "1", ""), parquet.KeyValueMetadata("huggingface", string(info)),
		parquet.SkipPageBounds("image", "bytes"), parquet.DataPageStatistics(false), parquet.DeprecatedDataPageStatistics(false))
	return f, nil
}

func text() map[string]any { return map[string]any{"dtype": "string", "_type": "Value"} }

func (f *hubFile) add(r *shard.Row) error {
	if f.rows > 0 && f.rows%hubGroup == 0 {
		if err := f.w.Flush(); err != nil {
			return err
		}
	}
	f.rows++
	row := map[string]any{
		"image":    map[string]any{"bytes": r.Image, "path": strings.ReplaceAll(r.Key, "/", "_") + "." + extension(r.Image)},
		"captions": r.Captions, "key": r.Key, "source": r.Source,
	}
	for _, l := range f.labels {
		if v, ok := r.Labels[l]; ok {
			row[l] = v
		}
	}
	_, err := f.w.WriteRows([]parquet.Row{f.schema.Deconstruct(nil, row)})
	return err
}

func (f *hubFile) close() error { return f.w.Close() }

// card is the README.md by which datasets and the hub find splits and licences.
func card(m *shard.Manifest) string {
	var b strings.Builder
	b.WriteString("---\nconfigs:\n- config_name: default\n  data_files:\n")
	for _, split := range m.SplitNames() {
		fmt.Fprintf(&b, "  - split: %s\n    path: data/%s-*.parquet\n", strings.NewReplacer("-", "_", ".", "_").Replace(split), split)
	}
	b.WriteString("---\n\n# Image–caption pairs\n\n| split | rows | captions | size |\n|---|---|---|---|\n")
	for _, split := range m.SplitNames() {
		s := m.Splits[split]
		fmt.Fprintf(&b, "| %s | %d | %d | %s |\n", split, s.Rows, s.Captions, progress.FormatBytes(s.Bytes))
	}
	b.WriteString("\nSources and their licences:\n\n")
	for _, s := range m.Sources {
		fmt.Fprintf(&b, "- %s (%d rows)\n", s.Name, s.Rows)
		for _, l := range s.Licences {
			fmt.Fprintf(&b, "  - %s %s by %s: %s (%s)\n", l.Work, l.Version, l.Author, l.SPDX, l.Use)
		}
	}
	return b.String()
}
