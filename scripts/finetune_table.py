"""Runs the fine-tuning recipes over several seeds and prints the table of docs/finetune.md.

    python3 scripts/finetune_table.py TRAIN INIT OUT [recipe …] -- [flags for every run]

TRAIN is the train program, INIT the model to start from, OUT a directory for the runs. A run that is there is not run
again. Needs nothing but Python.
"""
import json
import os
import subprocess
import sys

SEEDS = (1, 2, 3)
RECIPES = ("finetune-contrastive", "finetune-lora", "finetune-lit", "finetune-projections", "distill")


def run(train, init, out, recipe, seed, flags):
    path = os.path.join(out, f"{recipe}-{seed}")
    result = os.path.join(path, "tuning.json")
    if not os.path.exists(result):
        command = [train, "-config", recipe, "-init", init, "-dir", path, "-set", f"train.seed={seed}", "-set", f"data.seed={seed}"]
        if recipe == "distill":
            command += ["-set", f"teacher={init}"]
        if os.path.exists(os.path.join(path, "checkpoints")):
            command += ["-resume"]
        subprocess.run(command + flags, check=True, stdout=subprocess.DEVNULL)
    with open(result) as f:
        return json.load(f)


def spread(values, scale=100, digits=1):
    if any(v is None for v in values):
        return "–"
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) ** 0.5
    return f"{scale * mean:.{digits}f} ± {scale * deviation:.{digits}f}"


def main():
    args, flags = sys.argv[1:], []
    if "--" in args:
        at = args.index("--")
        args, flags = args[:at], args[at + 1:]
    train, init, out, *recipes = args
    rows = {r: [run(train, init, out, r, s, flags) for s in SEEDS] for r in recipes or RECIPES}
    print("| recipe | trained | target before | tuned | taken (α) | guard before | tuned | taken | seconds | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for recipe, runs in rows.items():
        of = lambda key: [r[key] for r in runs]
        share = 100 * runs[0]["trained"] / runs[0]["parameters"]
        alphas = ", ".join(f"{a:g}" for a in of("alpha"))
        print(f"| {recipe} | {runs[0]['trained']:,} ({share:.1f} %) | {spread(of('target_before'))} | {spread(of('target_tuned'))} "
              f"| {spread(of('target_taken'))} ({alphas}) | {spread(of('guard_before'))} | {spread(of('guard_tuned'))} "
              f"| {spread(of('guard_taken'))} | {spread(of('seconds'), 1, 0)} | {spread(of('peak_bytes'), 2**-20, 0)} |")


main()
