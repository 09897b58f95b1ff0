"""Makes a few-shot data set of one split of a set of shards: at most N pictures of each class to train on.

    python3 scripts/few_shot.py DATA SHARDS SPLIT LABEL N SEED OUT [MOST]

DATA is the data program, LABEL the column with the class, OUT a new directory of shards. Half of every class (by a hash of
the keys, the same for every N and SEED) is the split test; of the rest N are drawn for train, and up to four others for
val (N/4, if that is more); MOST bounds the pictures of a class in test. Beside OUT, OUT-val.yaml and OUT-test.yaml describe the tasks. Needs nothing but Python.
"""
import collections
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile

VALIDATION = 4


def split_of(rows, label, n, seed, most):
    """Yields (split, row): a class's rows in a random order that depends on the seed alone."""
    classes = collections.defaultdict(list)
    for row in rows:
        classes[row["labels"][label]].append(row)
    for name, members in sorted(classes.items()):
        members.sort(key=lambda row: hashlib.sha256(row["key"].encode()).digest())
        half = len(members) // 2
        for row in members[:half][:most]:
            yield "test", row
        rest = members[half:]
        random.Random(f"{seed} {name}").shuffle(rest)
        validation = rest[n:n + max(VALIDATION, n // 4)] or rest[:1]  # a class with no row to spare is chosen by what it learns from
        for row in rest[:n]:
            yield "train", row
        for row in validation:
            yield "val", row


TASK = """name: {name}/{split}
data: {out}
split: {split}
label: {label}
templates: ["{{}}"]
"""


def main():
    data, shards, split, label, n, seed, out, *most = sys.argv[1:]
    out = os.path.abspath(out)
    with tempfile.TemporaryDirectory() as scratch:
        lines = subprocess.run([data, "sample", "-n", "1000000000", "-split", split, "-out", scratch, shards], check=True, stdout=subprocess.PIPE).stdout
        rows = [json.loads(line) for line in lines.splitlines()]
        path = os.path.join(scratch, "list.jsonl")
        with open(path, "w") as f:
            for part, row in split_of(rows, label, int(n), seed, int(most[0]) if most else None):
                record = {"image": os.path.abspath(row["image"]), "caption": row["captions"], "key": f"{part}/{row['key']}", "split": part, label: row["labels"][label]}
                f.write(json.dumps(record) + "\n")
        subprocess.run([data, "build", "-out", out, path], check=True)
    for split in ("val", "test"):
        with open(f"{out}-{split}.yaml", "w") as f:
            f.write(TASK.format(name=os.path.basename(out), out=out, label=label, split=split))


main()
