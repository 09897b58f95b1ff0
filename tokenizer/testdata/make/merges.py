"""Writes vocab/clip_merges.txt.gz: the 48,894 merges that CLIP uses, of the 262,144 lines in the peers' file.

pip download --no-deps open_clip_torch==3.3.0 && unzip open_clip_torch-*.whl 'open_clip/*.gz'
python merges.py open_clip/bpe_simple_vocab_16e6.txt.gz ../../vocab/clip_merges.txt.gz
"""

import gzip
import sys

lines = gzip.open(sys.argv[1]).read().decode("utf-8").split("\n")
assert lines[0].startswith('"bpe_simple_vocab_16e6.txt#version: 0.2'), lines[0]
merges = lines[1 : 49152 - 256 - 2 + 1]
assert len(merges) == 48894 and all(len(m.split(" ")) == 2 for m in merges)
with open(sys.argv[2], "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
    out.write("\n".join(["#version: 0.2", *merges, ""]).encode("utf-8"))
