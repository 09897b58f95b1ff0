"""Compares the lists that `eval fetch-classnames -out DIR` wrote with the Python packages they come from.

    pip install clip-benchmark==1.6.2 open_clip_torch==3.3.0
    eval fetch-classnames -out names
    python scripts/classnames_peer.py names

Every list of the packages must be there, equal in content and order, and nothing else may be. Exits with 1 otherwise.
"""

import ast
import importlib.util
import json
import pathlib
import sys


def package(name):
    return pathlib.Path(importlib.util.find_spec(name).origin).parent


def literals(path, names):
    """The values of assignments of literals anywhere in a source file."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names:
            if isinstance(node.value, (ast.List, ast.Set, ast.Tuple)):
                found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def expected():
    datasets = package("clip_benchmark") / "datasets"
    lists = {}
    for path in datasets.glob("*_classnames.json"):
        prefix = "" if path.name.startswith("en_") else path.name[:2] + "-"
        for task, names in json.loads(path.read_text()).items():
            lists[prefix + task + ".classes"] = names
    for path in datasets.glob("*_zeroshot_classification_templates.json"):
        prefix = "" if path.name.startswith("en_") else path.name[:2] + "-"
        for task, templates in json.loads(path.read_text()).items():
            lists[prefix + task + ".templates"] = templates

    # builder.py: the variants of ImageNet.
    wordnet = literals(datasets / "builder.py", {"imagenet_a_wnids", "imagenet_r_wnids", "imagenet_o_wnids", "all_imagenet_wordnet_ids"})
    classes, templates = lists["imagenet1k.classes"], lists["imagenet1k.templates"]
    for task in ["imagenetv2", "imagenet_sketch", "imagenet-w", "imagenet1k-unverified"]:
        lists[task + ".classes"] = classes
    for letter in "aro":
        part = set(wordnet[f"imagenet_{letter}_wnids"])
        lists[f"imagenet-{letter}.classes"] = [c for c, n in zip(classes, wordnet["all_imagenet_wordnet_ids"]) if n in part]
    for task in ["imagenetv2", "imagenet_sketch", "imagenet-w", "imagenet1k-unverified", "objectnet", "imagenet-a", "imagenet-r", "imagenet-o"]:
        lists[task + ".templates"] = templates
    for language, (indices, names) in json.loads((datasets / "babel_imagenet.json").read_text()).items():
        lists[f"babel_imagenet-{language.lower()}.classes"] = names
        lists[f"babel_imagenet-{language.lower()}.imagenet"] = [str(i) for i in indices]
    for language, prompts in json.loads((datasets / "nllb_dist13b_prompts.json").read_text()).items():
        lists[f"babel_imagenet-{language.lower()}.templates"] = prompts

    # open_clip: ImageNet. Its templates are functions; what they make of {} is the text.
    spec = importlib.util.spec_from_file_location("zero_shot_metadata", package("open_clip") / "zero_shot_metadata.py")
    metadata = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metadata)
    lists["imagenet.classes"] = list(metadata.IMAGENET_CLASSNAMES)
    lists["imagenet.templates"] = [t("{}") for t in metadata.OPENAI_IMAGENET_TEMPLATES]
    return lists


def main():
    directory = pathlib.Path(sys.argv[1])
    want, wrong = expected(), 0
    for name in sorted(want):
        path = directory / (name + ".txt")
        got = path.read_text().split("\n")[:-1] if path.exists() else None
        if name == "imagenet.templates" and got:
            got = [t.replace("{c}", "{}") for t in got]
        if got != [str(x) for x in want[name]]:
            wrong += 1
            print(f"{name}: {'missing' if got is None else 'differs'}")
    extra = {p.name.removesuffix(".txt") for p in directory.glob("*.txt")} - set(want)
    print(f"{len(want)} lists, {wrong} wrong, {len(extra)} that the packages do not have: {sorted(extra)}")
    sys.exit(1 if wrong or extra else 0)


main()
