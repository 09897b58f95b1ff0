package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

const classnamesUsage = `usage: eval fetch-classnames -out DIR [-wheels DIR]

Fetches, with pip, the class names and templates that CLIP_benchmark (clip-benchmark 1.6.2) and open_clip
(open-clip-torch 3.3.0) use, and writes for each task DIR/NAME.templates.txt and, where the packages have them,
DIR/NAME.classes.txt, one a line. ImageNet's 1000 names and 80 templates come from open_clip. The texts are the authors'
(MIT licence) and no part of this program.
`

// wheels are the packages that the texts come from.
var wheels = []string{"clip-benchmark==1.6.2", "open-clip-torch==3.3.0"}

// runFetchClassnames writes class names and templates as files.
func runFetchClassnames(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval fetch-classnames", flag.ContinueOnError)
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
	out := flags.String("out", "", "`directory` to write")
	local := flags.String("wheels", "", "`directory` that holds the two wheels already: nothing is downloaded")
	if err := parse(flags, args, stderr, classnamesUsage); err != nil {
		return err
	}
	if *out == "" || flags.NArg() > 0 {
		return fault.Userf("name the directory to write with -out, and nothing else")
	}
	dir := *local
	if dir == "" {
		temporary, err := os.MkdirTemp("", "wheels")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		if err := downloadWheels(ctx, temporary); err != nil {
			return err
		}
		dir = temporary
	}
	lists, err := readWheels(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if err := atomicfile.WriteFile(filepath.Join(*out, name+".txt"), []byte(strings.Join(lists[name], "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d lists in %s\n", len(lists), *out)
	return nil
}

func downloadWheels(ctx context.Context, dir string) error {
	args := append([]string{"-m", "pip", "download", "--quiet", "--no-deps", "--dest", dir}, wheels...)
	command := exec.CommandContext(ctx, "python3", args...)
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Run(); err != nil {
		return fmt.Errorf("python3 %s: %w: %s (fetch the wheels yourself and name their directory with -wheels)", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

// readWheels collects the lists of both wheels by file name: "flowers.classes", "flowers.templates".
func readWheels(dir string) (map[string][]string, error) {
	lists := map[string][]string{}
	for _, wheel := range wheels {
		name, _, _ := strings.Cut(wheel, "==")
		found, _ := filepath.Glob(filepath.Join(dir, strings.ReplaceAll(name, "-", "?")+"-*.whl"))
		if len(found) != 1 {
			return nil, fault.Userf("%s: %d wheels of %s, not one", dir, len(found), wheel)
		}
		if err := readWheel(found[0], lists); err != nil {
			return nil, fmt.Errorf("%s: %w", found[0], err)
		}
	}
	return lists, nil
}

func readWheel(file string, lists map[string][]string) error {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, member := range archive.File {
		if strings.HasSuffix(member.Name, "_classnames.json") || strings.HasSuffix(member.Name, "_templates.json") || path.Base(member.Name) == "zero_shot_metadata.py" {
			r, err := member.Open()
			if err != nil {
				return err
			}
			content, err := io.ReadAll(io.LimitReader(r, 64<<20))
			r.Close()
			if err == nil {
				err = readLists(path.Base(member.Name), content, lists)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", member.Name, err)
			}
		}
	}
	return nil
}

// readLists reads one file of a wheel. English lists are named by the task alone, others with the language before it.
func readLists(name string, content []byte, lists map[string][]string) error {
	if strings.HasSuffix(name, ".py") {
		return readPython(string(content), lists)
	}
	var byTask map[string]json.RawMessage
	if err := json.Unmarshal(content, &byTask); err != nil {
		return err
	}
	language, _, _ := strings.Cut(name, "_")
	kind := ".templates"
	if strings.Contains(name, "classnames") {
		kind = ".classes"
	}
	for task, raw := range byTask {
		var list []string
		if json.Unmarshal(raw, &list) != nil {
			continue // nested prompts for each class are no list of templates
		}
		if language != "en" {
			task = language + "-" + task
		}
		lists[task+kind] = list
	}
	return nil
}

var (
	pythonList   = regexp.MustCompile(`(?ms)^(OPENAI_IMAGENET_TEMPLATES|IMAGENET_CLASSNAMES)\s*=\s*[(\[](.*?)^[)\]]`)
	pythonString = regexp.MustCompile(`"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'`)
)

// readPython finds the two tuples of string literals in open_clip's source.
func readPython(source string, lists map[string][]string) error {
	names := map[string]string{"OPENAI_IMAGENET_TEMPLATES": "imagenet.templates", "IMAGENET_CLASSNAMES": "imagenet.classes"}
	for _, m := range pythonList.FindAllStringSubmatch(source, -1) {
		var list []string
		for _, s := range pythonString.FindAllStringSubmatch(m[2], -1) {
			text, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(s[1]+s[2], `\'`, `'`), `"`, `\"`) + `"`)
			if err != nil {
				return fmt.Errorf("string %q: %w", s[0], err)
			}
			list = append(list, text)
		}
		lists[names[m[1]]] = list
	}
	if len(lists["imagenet.classes"]) != 1000 || len(lists["imagenet.templates"]) != 80 {
		return fmt.Errorf("found %d class names and %d templates, not 1000 and 80: the package's source has changed", len(lists["imagenet.classes"]), len(lists["imagenet.templates"]))
	}
	return nil
}
