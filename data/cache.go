package data

import (
	"container/list"
	"sync"
	"sync/atomic"

	"tandem/data/shard"
	"tandem/imaging"
)

// groupCacheBytes bounds the captions and page indexes that are kept: about a million rows.
const groupCacheBytes = 256 << 20

// groups keeps the small columns of the row groups used last.
type groups struct {
	limit int64

	mu    sync.Mutex
	items map[groupKey]*list.Element
	order *list.List // of *groupEntry, most recently used first
	bytes int64
}

type groupKey struct {
	source, file, group int
}

// groupEntry is loaded once, by the first who needs it. An error stays: a damaged group does not heal.
type groupEntry struct {
	key   groupKey
	once  sync.Once
	done  atomic.Bool // spares the steady path a closure
	group *shard.Group
	err   error
	bytes int64
}

func newGroups(limit int64) *groups {
	return &groups{limit: limit, items: map[groupKey]*list.Element{}, order: list.New()}
}

// get returns a row group of f with some columns, loading it if need be.
func (c *groups) get(key groupKey, f *shard.File, columns []string) (*shard.Group, error) {
	e := c.entry(key)
	if !e.done.Load() {
		e.once.Do(func() {
			e.group, e.err = f.Group(key.group, columns...)
			c.loaded(e)
			e.done.Store(true)
		})
	}
	return e.group, e.err
}

func (c *groups) entry(key groupKey) *groupEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[key]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*groupEntry)
	}
	e := &groupEntry{key: key}
	c.items[key] = c.order.PushFront(e)
	return e
}

// loaded accounts for a new group and drops old ones.
func (c *groups) loaded(e *groupEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const overhead = 512
	e.bytes = overhead
	if e.group != nil {
		e.bytes += e.group.Bytes()
	}
	c.bytes += e.bytes
	for el := c.order.Back(); el != nil && c.bytes > c.limit && c.order.Len() > 1; {
		previous := el.Prev()
		if old := el.Value.(*groupEntry); old.bytes > 0 && old != e { // not one that is still being loaded
			c.order.Remove(el)
			delete(c.items, old.key)
			c.bytes -= old.bytes
		}
		el = previous
	}
}

// drop forgets a group whose loading failed for a reason that may pass.
func (c *groups) drop(key groupKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[key]; ok {
		c.bytes -= el.Value.(*groupEntry).bytes
		c.order.Remove(el)
		delete(c.items, key)
	}
}

// pictures keeps decoded pictures until its memory is used up. Nothing is ever thrown out for another picture: every
// epoch visits every row once, so that keeping any fixed part of the rows is as good as it gets.
type pictures struct {
	limit int64

	mu    sync.RWMutex
	used  int64
	items map[place]*imaging.Picture
}

// pictureOverhead is about what a picture and its place in the map take besides the pixels.
const pictureOverhead = 1400

func newPictures(limit int64) *pictures {
	return &pictures{limit: limit, items: map[place]*imaging.Picture{}}
}

// get returns the picture of a row, which must not be changed, or nil.
func (c *pictures) get(at place) *imaging.Picture {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.items[at]
}

// put keeps a copy of p if there is room.
func (c *pictures) put(at place, p *imaging.Picture) {
	size := int64(len(p.Pix)) + pictureOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used+size > c.limit || c.items[at] != nil {
		return
	}
	c.used += size
	c.items[at] = p.Clone()
}

func (c *pictures) bytes() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.used
}
