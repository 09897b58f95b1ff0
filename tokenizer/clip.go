package tokenizer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
)

// clipMerges is CLIP's merges file; see vocab/LICENSE.
//
//go:embed vocab/clip_merges.txt.gz
var clipMerges []byte

// clipContext is the context of every model that OpenAI published.
const clipContext = 77

var clip = sync.OnceValue(func() *BPE {
	t, err := readCLIP()
	if err != nil {
		panic("tokenizer: the embedded merges are damaged: " + err.Error()) // held by a test
	}
	return t
})

// CLIP returns the tokenizer of OpenAI's CLIP and of open_clip: 49,408 ids, context 77, padding 0. It is one shared
// instance, made by the first call.
func CLIP() *BPE { return clip() }

func readCLIP() (*BPE, error) {
	file, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		return nil, err
	}
	merges, err := readMerges(file)
	if err != nil {
		return nil, err
	}
	v, err := newVocabulary(merges)
	if err != nil {
		return nil, err
	}
	return &BPE{v, 0, clipContext}, nil
}

// readMerges reads a merges file: a line that begins with #version, then two symbols a line.
func readMerges(r io.Reader) ([][2]string, error) {
	var merges [][2]string
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if n == 1 && strings.Contains(line, "#version") || line == "" {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return nil, fmt.Errorf("line %d: %q is not two symbols", n, line)
		}
		merges = append(merges, [2]string{left, right})
	}
	return merges, lines.Err()
}
