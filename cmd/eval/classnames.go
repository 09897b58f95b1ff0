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

const classnamesUsage = `usage: go run ./cmd/eval fetch-classnames -out DIR [-wheels DIR]

Fetches, with pip, the class names and templates that CLIP_benchmark (clip-benchmark 1.6.2) and open_clip
(open-clip-torch 3.3.0) use, and writes for each task DIR/NAME.templates.txt and, where the packages have them,
DIR/NAME.classes.txt, one a line. ImageNet's 1000 names and 80 templates come from open_clip; Babel-ImageNet's lists have
the language in their names, and DIR/NAME.imagenet.txt says which of ImageNet's classes it has. The texts are the authors'
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
	if err := checkDirectories(*out); err != nil {
		return err
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
	tasks, named := englishTasks(lists)
	fmt.Fprintf(stdout, "%d lists in %s: templates of %d tasks, class names of %d of them (those of the others come with their data)\n", len(lists), *out, tasks, named)
	return nil
}

// englishTasks counts CLIP_benchmark's tasks in English, and those whose class names the packages have. Babel-ImageNet's
// languages are one task; imagenet is open_clip's.
func englishTasks(lists map[string][]string) (tasks, named int) {
	_, babel := lists[babelName+"de.templates"]
	if babel {
		tasks, named = 1, 1
	}
	for name := range lists {
		task, found := strings.CutSuffix(name, ".templates")
		if !found || task == "imagenet" || task == "dummy" || strings.HasSuffix(task, "-imagenet1k") || strings.HasPrefix(task, babelName) {
			continue
		}
		tasks++
		if _, ok := lists[task+".classes"]; ok {
			named++
		}
	}
	return tasks, named
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
	return lists, addVariants(lists)
}

func readWheel(file string, lists map[string][]string) error {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, member := range archive.File {
		base := path.Base(member.Name)
		if strings.HasSuffix(base, "_classnames.json") || strings.HasSuffix(base, "_templates.json") || slices.Contains(otherMembers, base) {
			r, err := member.Open()
			if err != nil {
				return err
			}
			content, err := io.ReadAll(io.LimitReader(r, 64<<20))
			r.Close()
			if err == nil {
				err = readLists(base, content, lists)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", member.Name, err)
			}
		}
	}
	return nil
}

// otherMembers are the files with lists beside those whose names say so: open_clip's ImageNet, and CLIP_benchmark's
// variants of ImageNet and Babel-ImageNet.
var otherMembers = []string{"zero_shot_metadata.py", "builder.py", "babel_imagenet.json", "nllb_dist13b_prompts.json"}

// readLists reads one file of a wheel. English lists are named by the task alone, others with the language before it.
func readLists(name string, content []byte, lists map[string][]string) error {
	switch name {
	case "zero_shot_metadata.py":
		return readPython(string(content), lists)
	case "builder.py":
		return readWordnet(string(content), lists)
	case "babel_imagenet.json":
		return readBabel(content, lists)
	case "nllb_dist13b_prompts.json":
		return readBabelTemplates(content, lists)
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

// wordnetList finds one of builder.py's lists of WordNet's numbers; one of them is a set.
var wordnetList = regexp.MustCompile(`(?m)^\s*(imagenet_[aro]|all_imagenet)_(?:wnids|wordnet_ids)\s*=\s*[\[{]([^\]}]*)[\]}]`)

// wordnetSuffix marks lists of WordNet's numbers, which addVariants turns into class names.
const wordnetSuffix = ".wordnet"

// readWordnet finds which classes of ImageNet its variants have.
func readWordnet(source string, lists map[string][]string) error {
	for _, m := range wordnetList.FindAllStringSubmatch(source, -1) {
		for _, s := range pythonString.FindAllStringSubmatch(m[2], -1) {
			lists[m[1]+wordnetSuffix] = append(lists[m[1]+wordnetSuffix], s[1]+s[2])
		}
	}
	return nil
}

// addVariants fills in the tasks that CLIP_benchmark derives from ImageNet in its code: all classes, or a part of them,
// with ImageNet's templates. ObjectNet's class names come with its data.
func addVariants(lists map[string][]string) error {
	classes, templates, all := lists["imagenet1k.classes"], lists["imagenet1k.templates"], lists["all_imagenet"+wordnetSuffix]
	if len(classes) != 1000 || len(all) != 1000 || len(templates) == 0 {
		return fmt.Errorf("found %d class names of imagenet1k, %d templates and %d WordNet numbers, not 1000, some and 1000: the package's source has changed", len(classes), len(templates), len(all))
	}
	for _, task := range []string{"imagenetv2", "imagenet_sketch", "imagenet-w", "imagenet1k-unverified"} {
		lists[task+".classes"], lists[task+".templates"] = classes, templates
	}
	lists["objectnet.templates"] = templates
	for _, letter := range []string{"a", "r", "o"} {
		numbers := lists["imagenet_"+letter+wordnetSuffix]
		for i, number := range all {
			if slices.Contains(numbers, number) {
				lists["imagenet-"+letter+".classes"] = append(lists["imagenet-"+letter+".classes"], classes[i])
			}
		}
		if len(numbers) != 200 || len(lists["imagenet-"+letter+".classes"]) != 200 {
			return fmt.Errorf("imagenet-%s has %d classes, not 200: the package's source has changed", letter, len(numbers))
		}
		lists["imagenet-"+letter+".templates"] = templates
	}
	maps.DeleteFunc(lists, func(name string, _ []string) bool { return strings.HasSuffix(name, wordnetSuffix) })
	return nil
}

const babelName = "babel_imagenet-"

// readBabel reads Babel-ImageNet: for each language the indices of ImageNet's classes that it has, and their names.
func readBabel(content []byte, lists map[string][]string) error {
	var languages map[string][2]json.RawMessage
	if err := json.Unmarshal(content, &languages); err != nil {
		return err
	}
	for _, language := range slices.Sorted(maps.Keys(languages)) {
		parts := languages[language]
		var indices []int
		var names []string
		if err := json.Unmarshal(parts[0], &indices); err != nil {
			return fmt.Errorf("%s: %w", language, err)
		}
		if err := json.Unmarshal(parts[1], &names); err != nil {
			return fmt.Errorf("%s: %w", language, err)
		}
		if len(indices) != len(names) {
			return fmt.Errorf("%s: %d names for %d classes", language, len(names), len(indices))
		}
		name := babelName + strings.ToLower(language)
		lists[name+".classes"] = names
		for _, i := range indices {
			lists[name+".imagenet"] = append(lists[name+".imagenet"], strconv.Itoa(i))
		}
	}
	return nil
}

// readBabelTemplates reads ImageNet's templates in Babel-ImageNet's languages.
func readBabelTemplates(content []byte, lists map[string][]string) error {
	var languages map[string][]string
	if err := json.Unmarshal(content, &languages); err != nil {
		return err
	}
	for language, templates := range languages {
		lists[babelName+strings.ToLower(language)+".templates"] = templates
	}
	return nil
}
