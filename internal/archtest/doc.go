// Package archtest holds the tests of the repository itself: which way the imports point, that every package says
// what it is, and that the versions which belong together stay together.
package archtest
