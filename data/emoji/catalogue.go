package emoji

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Emoji is one base emoji: what a picture shows, without skin tone or vendor.
type Emoji struct {
	Hexcode  string   // code points, like "1F9D1-200D-1F680"
	Char     string   // the emoji itself
	Label    string   // its name in English, like "astronaut"
	Tags     []string // further words in English
	Group    string   // one of ten, like "people-body"; "component" holds no base emoji
	Subgroup string   // one of a hundred, like "person-role"
	Order    int      // place in the Unicode charts
	HeldOut  bool     // one of every fifth, never trained on
}

// holdOutEvery is the distance of held-out emoji in the charts' order.
const holdOutEvery = 5

// variant is a base emoji in one skin tone, or in none.
type variant struct {
	emoji *Emoji
	tone  string // like "medium skin tone", or "light skin tone, dark skin tone" of two persons
}

// catalogue is what emojibase tells.
type catalogue struct {
	emoji  []*Emoji           // in the charts' order
	byCode map[string]variant // by hexcode without variation selectors
	labels map[string]*Emoji  // by label reduced to letters and digits; absent where two emoji share it
}

type emojibaseEntry struct {
	Label, Hexcode, Emoji  string
	Tags                   []string
	Order, Group, Subgroup *int
	Skins                  []struct{ Label, Hexcode string }
}

func readCatalogue(data, groups []byte) (*catalogue, error) {
	var entries []emojibaseEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("emojibase's data: %w", err)
	}
	var names struct{ Groups, Subgroups map[string]string }
	if err := json.Unmarshal(groups, &names); err != nil {
		return nil, fmt.Errorf("emojibase's groups: %w", err)
	}
	c := &catalogue{byCode: map[string]variant{}, labels: map[string]*Emoji{}}
	for _, entry := range entries {
		if entry.Group == nil || entry.Subgroup == nil || entry.Order == nil {
			continue // a regional indicator
		}
		group, subgroup := names.Groups[fmt.Sprint(*entry.Group)], names.Subgroups[fmt.Sprint(*entry.Subgroup)]
		if group == "" || subgroup == "" {
			return nil, fmt.Errorf("emojibase's data: %s has the unknown group %d, subgroup %d", entry.Hexcode, *entry.Group, *entry.Subgroup)
		}
		if group == "component" {
			continue // skin tones and hair by themselves
		}
		c.add(entry, group, subgroup)
	}
	slices.SortFunc(c.emoji, func(a, b *Emoji) int { return cmp.Compare(a.Order, b.Order) })
	for i, e := range c.emoji {
		e.HeldOut = i%holdOutEvery == holdOutEvery-1
	}
	return c, nil
}

func (c *catalogue) add(entry emojibaseEntry, group, subgroup string) {
	e := &Emoji{Hexcode: entry.Hexcode, Char: entry.Emoji, Label: entry.Label, Tags: entry.Tags, Group: group, Subgroup: subgroup, Order: *entry.Order}
	c.emoji = append(c.emoji, e)
	c.byCode[plainCode(entry.Hexcode)] = variant{emoji: e}
	for _, skin := range entry.Skins {
		_, tone, _ := strings.Cut(skin.Label, ": ")
		c.byCode[plainCode(skin.Hexcode)] = variant{e, tone}
	}
	key := letters(entry.Label)
	if _, taken := c.labels[key]; taken {
		e = nil
	}
	c.labels[key] = e
}

// plainCode makes hexcodes comparable: upper case, no leading zeros, no variation selectors, "-" between.
func plainCode(code string) string {
	points := strings.FieldsFunc(strings.ToUpper(code), func(r rune) bool { return r == '-' || r == '_' })
	kept := points[:0]
	for _, p := range points {
		if p = strings.TrimLeft(p, "0"); p != "FE0F" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "-")
}

// isFlag reports whether a hexcode is a country's or region's flag.
func isFlag(code string) bool {
	first, second, _ := strings.Cut(plainCode(code), "-")
	return first >= "1F1E6" && first <= "1F1FF" && len(first) == 5 || strings.Contains(second, "E007F")
}
