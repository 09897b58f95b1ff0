"""Runs the fine-tuning recipes over several seeds and prints the table of docs/finetune.md.

    python3 scripts/finetune_table.py [-print] [-seeds 1,2,3] TRAIN INIT OUT [recipe …] -- [flags for every run]

TRAIN is the train program, INIT the model to start from, OUT a directory for the runs. A run that is there is not run
again; with -print nothing is run. "taken" is the model that WiSE-FT chose on the validation split, "back" the share of the
guard's loss that it gives back; seconds are the fastest run's, compiling included. Needs nothing but Python.
"""
import json
import os
import subprocess
import sys

SEEDS = (1, 2, 3)
RECIPES = ("finetune-contrastive", "finetune-head", "finetune-lit", "finetune-projections", "distill", "finetune-lora")


def run(train, init, out, recipe, seed, flags, printing):
    path = os.path.join(out, f"{recipe}-{seed}")
    result = os.path.join(path, "tuning.json")
    if not os.path.exists(result):
        if printing:
            return None
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
    if len(values) == 1 or deviation == 0:
        return f"{scale * mean:.{digits}f}"
    return f"{scale * mean:.{digits}f} ± {scale * deviation:.{digits}f}"


def back(runs):
    """The mean share of the guard's loss that the taken models give back, over the runs that lost more than a point."""
    shares = [(r["guard_taken"] - r["guard_tuned"]) / (r["guard_before"] - r["guard_tuned"])
              for r in runs if r["guard_before"] is not None and r["guard_before"] - r["guard_tuned"] > 0.01]
    return spread(shares, 100, 0) + " %" if shares else "–"


def main():
    args, flags, seeds = sys.argv[1:], [], SEEDS
    printing = args[:1] == ["-print"]
    args = args[printing:]
    if args[:1] == ["-seeds"]:
        seeds, args = [int(s) for s in args[1].split(",")], args[2:]
    if "--" in args:
        at = args.index("--")
        args, flags = args[:at], args[at + 1:]
    train, init, out, *recipes = args
    rows = {r: [t for s in seeds if (t := run(train, init, out, r, s, flags, printing))] for r in recipes or RECIPES}
    print("| recipe | seeds | trained | target before | tuned | taken (α) | guard before | tuned | taken | back | seconds | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for recipe, runs in rows.items():
        if not runs:
            continue
        of = lambda key: [r[key] for r in runs]
        share = 100 * runs[0]["trained"] / runs[0]["parameters"]
        alphas = ", ".join(f"{a:g}" for a in of("alpha"))
        print(f"| {recipe} | {len(runs)} | {runs[0]['trained']:,} ({share:.1f} %) | {spread(of('target_before'))} | {spread(of('target_tuned'))} "
              f"| {spread(of('target_taken'))} ({alphas}) | {spread(of('guard_before'))} | {spread(of('guard_tuned'))} "
              f"| {spread(of('guard_taken'))} | {back(runs)} | {min(of('seconds')):.0f} | {spread(of('peak_bytes'), 2**-20, 0)} |")


main()
