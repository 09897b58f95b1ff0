"""Writes what ftfy and open_clip make of hard texts: testdata/clip_hard.json and internal/ftfy/testdata/hard.json.

    python clip.py DIR OPEN_CLIP [N [SEED]]      (pip: ftfy==6.3.1 regex numpy)

DIR is the tokenizer package, OPEN_CLIP an unpacked wheel of open_clip_torch 3.3.0; torch is not needed. With a large N the
same tests compare that many texts.
"""

import importlib.util
import json
import pathlib
import sys
import types

import ftfy

from cases import cases

out, wheel = map(pathlib.Path, sys.argv[1:3])
n, seed = (list(map(int, sys.argv[3:])) + [500, 1][len(sys.argv) - 3 :])[:2]
torch = types.ModuleType("torch")
torch.Tensor = torch.LongTensor = object
sys.modules.setdefault("torch", torch)
spec = importlib.util.spec_from_file_location("oc_tokenizer", wheel / "open_clip/tokenizer.py")
oc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oc)
tokenizer = oc.SimpleTokenizer()


def dump(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


texts = list(dict.fromkeys(cases(seed, n, 80 if n <= 1000 else 1000)))
dump(out / "testdata/clip_hard.json", [{"text": t, "clean": oc._clean_lower(t), "encode": tokenizer.encode(t)} for t in texts])
dump(out / "internal/ftfy/testdata/hard.json", [{"text": t, "fixed": ftfy.fix_text(t)} for t in texts])
