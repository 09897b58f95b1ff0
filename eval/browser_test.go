//go:build slow

package eval

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tandem/eval/doubt"
)

// TestPageInABrowser opens a full report in Chromium: the console must stay free of errors, and the page must be laid out.
func TestPageInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: it is what this test opens the page in")
	}
	task := colourTask()
	task.Classes = task.Classes[:2]
	task.Except = map[string][]string{"colour": {"blue"}}
	task.Unknown = &Subset{Only: map[string][]string{"colour": {"blue"}}}
	task.Doubt = &doubt.Config{Coverage: 0.9}
	report := Report{Title: "browser", Model: map[string]string{"checkpoint": "x"}, Curve: []CurvePoint{{1, 5}, {2, 3}}, Manifest: &Manifest{Model: "m"}}
	session := NewSession(fakeEncoder{10}, Options{Doubt: true, Pictures: true})
	for _, task := range []Task{task, {Name: "search", Kind: Retrieval, Data: "d"}, {Name: "many", Kind: MultiLabel, Data: "d", Label: "colour"}} {
		result, err := session.Run(context.Background(), task, bigSet(40))
		if err != nil {
			t.Fatal(err)
		}
		report.Results = append(report.Results, result)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.WriteHTML(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var said strings.Builder
	command := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom", "file://"+path)
	command.Stderr = &said
	dom, err := command.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for _, line := range strings.Split(said.String(), "\n") {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("console: %s", line)
		}
	}
	for _, want := range []string{"id=\"task-colours\"", "reliability diagram", "first right:", "</html>"} {
		if !strings.Contains(string(dom), want) {
			t.Errorf("the browser's page lacks %q", want)
		}
	}
}
