"""Makes pictures of two shapes with a hard negative each: the true caption with the colours or the relation exchanged.

    python3 scripts/hard_negatives.py DATA SHARDS OUT

DATA is the data program, SHARDS the shapes data set, OUT a new directory of shards, whose label column "wrong" holds the
captions that are not true. What it is for: docs/finetune.md. Needs nothing but Python.
"""
import json
import os
import subprocess
import sys
import tempfile

INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def captions(row, number):
    """The true caption, and one that is not: the colours exchanged in every other row, the relation in the rest."""
    labels = row["labels"]
    first, second = (labels["colour"], labels["shape"]), (labels["colour2"], labels["shape2"])
    say = lambda a, relation, b: f"{article(' '.join(a))} {relation} {article(' '.join(b))}"
    true = say(first, labels["relation"], second)
    exchanged = (second[0], first[1]), (first[0], second[1])
    if number % 2 == 0 and first[0] != second[0] and first[1] != second[1]:
        return true, say(exchanged[0], labels["relation"], exchanged[1])
    return true, say(first, INVERSE[labels["relation"]], second)


def main():
    data, shards, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        lines = subprocess.run([data, "sample", "-n", "1000000000", "-split", "train", "-out", scratch, shards], check=True, stdout=subprocess.PIPE).stdout
        rows = [row for row in map(json.loads, lines.splitlines()) if row["labels"]["kind"] == "pair"]
        path = os.path.join(scratch, "list.jsonl")
        with open(path, "w") as f:
            for number, row in enumerate(rows):
                true, wrong = captions(row, number)
                f.write(json.dumps({"image": os.path.abspath(row["image"]), "caption": true, "key": row["key"], "split": "train", "wrong": wrong}) + "\n")
        subprocess.run([data, "build", "-out", os.path.abspath(out), path], check=True)


main()
