// Package prng holds random numbers that are pure functions of a key: a permutation that needs no memory and
// generators seeded by (seed, epoch, index). The order of data and every augmentation come from here, so that
// the number of workers, a restart or the machine change nothing.
package prng

import "math/rand/v2"

// Mix hashes its arguments to 64 well-mixed bits (splitmix64's finaliser over a running state; Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014). The order of the arguments matters.
func Mix(keys ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, k := range keys {
		h = finalise(h ^ k)
	}
	return h
}

func finalise(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// New returns a generator that depends on keys and nothing else.
func New(keys ...uint64) *rand.Rand {
	r := &rand.PCG{}
	Seed(r, keys...)
	return rand.New(r)
}

// Seed resets a generator in place, for loops that must not allocate.
func Seed(r *rand.PCG, keys ...uint64) {
	h := Mix(keys...)
	r.Seed(h, finalise(h^0xda942042e4dd58b5))
}

// Permutation is a bijection of [0, N) computed position by position: a four-round Feistel network over the
// smallest even number of bits that holds N, walked along its cycle until the value falls inside (Black and
// Rogaway, "Ciphers with arbitrary finite domains", 2002).
type Permutation struct {
	n        uint64
	halfBits uint
	mask     uint64
	keys     [4]uint64
}

// NewPermutation returns the permutation of [0, n) that belongs to keys. n must be positive.
func NewPermutation(n int64, keys ...uint64) Permutation {
	if n <= 0 {
		panic("prng: a permutation needs at least one element")
	}
	p := Permutation{n: uint64(n)}
	for p.halfBits = 1; uint64(1)<<(2*p.halfBits) < p.n; p.halfBits++ {
	}
	p.mask = uint64(1)<<p.halfBits - 1
	base := Mix(keys...)
	for i := range p.keys {
		p.keys[i] = Mix(base, uint64(i))
	}
	return p
}

// At returns the image of position i, which must lie in [0, N).
func (p Permutation) At(i int64) int64 {
	if i < 0 || uint64(i) >= p.n {
		panic("prng: position outside of the permutation")
	}
	x := uint64(i)
	for {
		x = p.encrypt(x)
		if x < p.n {
			return int64(x)
		}
	}
}

func (p Permutation) encrypt(x uint64) uint64 {
	left, right := x>>p.halfBits, x&p.mask
	for _, k := range p.keys {
		left, right = right, left^(finalise(right^k)&p.mask)
	}
	return left<<p.halfBits | right
}

// Inverse returns the position whose image is j, which must lie in [0, N).
func (p Permutation) Inverse(j int64) int64 {
	if j < 0 || uint64(j) >= p.n {
		panic("prng: value outside of the permutation")
	}
	x := uint64(j)
	for {
		x = p.decrypt(x)
		if x < p.n {
			return int64(x)
		}
	}
}

func (p Permutation) decrypt(x uint64) uint64 {
	left, right := x>>p.halfBits, x&p.mask
	for i := len(p.keys) - 1; i >= 0; i-- {
		left, right = right^(finalise(left^p.keys[i])&p.mask), left
	}
	return left<<p.halfBits | right
}
