package ftfy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func fixString(text string) string {
	var f Fixer
	return string(f.Fix([]rune(text)))
}

// TestHard compares generated texts with ftfy 6.3.1; testdata/make/clip.py of the tokenizer writes them.
func TestHard(t *testing.T) {
	data, err := os.ReadFile("testdata/hard.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Text, Fixed string }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 400 {
		t.Fatalf("%d cases, want 400 at least", len(cases))
	}
	var f Fixer
	changed := 0
	for _, c := range cases {
		if got := string(f.Fix([]rune(c.Text))); got != c.Fixed {
			t.Errorf("%+q\n got %+q\nwant %+q", c.Text, got, c.Fixed)
		}
		if c.Text != c.Fixed {
			changed++
		}
	}
	if changed < len(cases)/3 {
		t.Errorf("only %d of %d cases need fixing", changed, len(cases))
	}
}

// TestDocumented holds the examples of ftfy's own documentation.
func TestDocumented(t *testing.T) {
	for text, want := range map[string]string{
		"âœ” No problems":                            "✔ No problems",
		"&macr;\\_(ã\u0083\u0084)_/&macr;":           "¯\\_(ツ)_/¯",
		"Broken text&hellip; it&#x2019;s ﬂubberiﬁc!": "Broken text… it's flubberific!",
		"ＬＯＵＤ　ＮＯＩＳＥＳ":                                "LOUD NOISES",
		"voilÃ le travail":                           "voilà le travail",
		"P&EACUTE;REZ":                               "PÉREZ",
		"BUNDESSTRA&SZLIG;E":                         "BUNDESSTRASSE",
		"\x1b[36;44mI'm blue\x1b[0m":                 "I'm blue",
		"<b>&amp;</b>\n&lt;":                         "<b>&amp;</b>\n&lt;", // a < says that this is HTML, to the end
		"&lt;\n<b>&amp;":                             "<\n<b>&amp;",
		"Microsoft \r trolls":                        "Microsoft \n trolls",
		"‚Äòquoted‚Äô":                               "'quoted'",
	} {
		if got := fixString(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}

// TestSurrogates are code points that a Go string cannot hold, but JSON and Python can.
func TestSurrogates(t *testing.T) {
	var f Fixer
	for _, test := range []struct {
		text []rune
		want string
	}{
		{[]rune{0xd83d, 0xdca9}, "💩"},
		{[]rune{0xdca9, 0xd83d}, "\ufffd\ufffd"},
		{[]rune{'a', 0xd83d}, "a\ufffd"},
		{[]rune{0xd83d, 0xd83d, 0xdca9, 'b'}, "\ufffd💩b"},
	} {
		if got := string(f.Fix(test.text)); got != test.want {
			t.Errorf("%x: got %+q, want %+q", test.text, got, test.want)
		}
	}
}

// TestVariants are the byte sequences that plain UTF-8 does not have.
func TestVariants(t *testing.T) {
	for _, test := range []struct {
		data, want string
		ok         bool
	}{
		{"here comes a null! \xc0\x80", "here comes a null! \x00", true},
		{"\xed\xa0\xbd\xed\xb8\x8d", "😍", true},
		{"x\xed\xa0\xbd\xed\xb8\x8dy\xed\x95\x9c", "x😍y한", true},
		{"\xed\xa0\xbd", "", false},
		{"\xed\xa0\xbdabcdef", "", false},
		{"\xed", "", false},
		{"\xc0", "", false},
		{"\xc0\n", "\x00", true}, // Python's $ matches before a last line feed
		{"\xc1\x80", "", false},
		{"é\xed", "", false},
	} {
		got, ok := decodeVariants([]byte(test.data))
		if ok != test.ok || ok && string(got) != test.want {
			t.Errorf("%q: got %q %v, want %q %v", test.data, string(got), ok, test.want, test.ok)
		}
	}
}

// TestUnescaped holds html.unescape's treatment of references that are not clean.
func TestUnescaped(t *testing.T) {
	for text, want := range map[string]string{
		"&amp &ampamp; &notit; &notin; &am;": "& &amp; ¬it; ∉ &am;",
		"&#38;&#x26;&#X26&#38":               "&&&&",
		"&#0;&#128;&#xD800;&#x110000;&#1;|":  "\ufffd€\ufffd\ufffd|",
		"&#99999999999999999999;":            "\ufffd",
		"& &; &#; &#x; &&amp;":               "& &; &#; &#x; &&",
		"&CounterClockwiseContourIntegral;":  "∳",
	} {
		if got := string(AppendUnescaped(nil, []rune(text))); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzFix holds that fixing never fails and that what was fixed stays as it is, which ftfy's loop promises for a line.
func FuzzFix(f *testing.F) {
	for _, text := range []string{"", "sch\u00c3\u00b6n", "&amp;amp;", "\x1b[31m\r\n", "ﬁＡ①", "Ã\u00a0 \xff", "a\u0301\u0302"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range text {
			if r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' || r == '\u0085' || r == '\u2026' {
				return // a new line break makes segments, which are fixed one by one
			}
		}
		once := fixString(text)
		if twice := fixString(once); twice != once {
			t.Errorf("%+q is fixed to %+q and then to %+q", text, once, twice)
		}
	})
}

// TestManyPasses holds that text which was escaped over and over does not take for ever.
func TestManyPasses(t *testing.T) {
	if got := fixString("&" + strings.Repeat("amp;", 90)); got != "&" {
		t.Errorf("90 times escaped: %q", got)
	}
	long := "&" + strings.Repeat("amp;", 20_000)
	if got := len(fixString(long)); got != len(long)-4*maxPasses {
		t.Errorf("%d characters are left", got)
	}
}
