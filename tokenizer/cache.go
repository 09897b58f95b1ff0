package tokenizer

import (
	"hash/maphash"
	"sync/atomic"
)

// wordCache remembers the ids of words. It is bounded, needs no lock, and allocates only for a word that it does not
// hold: a table of sets of a few slots each, in which a new word takes an empty slot or the place of another word.
type wordCache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cachedWord]
}

type cachedWord struct {
	word string
	ids  []int32
}

const (
	cacheSets    = 1 << 14
	cacheWays    = 4
	cacheLongest = 64 // bytes; longer words are rare and not worth the memory
)

func newWordCache() *wordCache {
	return &wordCache{maphash.MakeSeed(), make([]atomic.Pointer[cachedWord], cacheSets*cacheWays)}
}

// get returns the ids of word, or nil. They must not be changed.
func (c *wordCache) get(word []byte, hash uint64) []int32 {
	set := c.set(hash)
	for i := range set {
		entry := set[i].Load()
		if entry == nil {
			return nil
		}
		if entry.word == string(word) {
			return entry.ids
		}
	}
	return nil
}

// put remembers the ids of word; it keeps ids.
func (c *wordCache) put(word []byte, hash uint64, ids []int32) {
	if len(word) > cacheLongest {
		return
	}
	entry := &cachedWord{string(word), ids}
	set := c.set(hash)
	for i := range set {
		if set[i].CompareAndSwap(nil, entry) {
			return
		}
	}
	set[hash>>32%cacheWays].Store(entry)
}

func (c *wordCache) hash(word []byte) uint64 { return maphash.Bytes(c.seed, word) }

func (c *wordCache) set(hash uint64) []atomic.Pointer[cachedWord] {
	first := hash % cacheSets * cacheWays
	return c.slots[first : first+cacheWays]
}
