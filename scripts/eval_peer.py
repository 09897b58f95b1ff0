#!/usr/bin/env python3
"""Metrics side by side: eval's against scikit-learn, torchmetrics and CLIP_benchmark's own code, on the same embeddings.

    python scripts/eval_peer.py            # fresh random embeddings, compared with Go; exits 1 above 1e-6
    python scripts/eval_peer.py --write    # writes the stored fixture eval/testdata/peers.json

Development only: needs torch, torchmetrics, scikit-learn, scipy, clip-benchmark==1.6.2 and Go. The fixture holds inputs
(float32 embeddings, labels) and what the peers compute from them; eval's TestPeers computes the same from the inputs.
"""
import argparse, json, os, subprocess, sys, tempfile, warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss, roc_auc_score, roc_curve, top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MultilabelAveragePrecision, BinaryAUROC
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP
import clip_benchmark.metrics.zeroshot_classification as clip_benchmark_classification
from clip_benchmark.metrics.zeroshot_classification import accuracy, average_precision_per_class
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent
# Its accuracy() calls float() on an array of one number, which NumPy 2 refuses; nothing else is changed.
clip_benchmark_classification.float = lambda array: np.asarray(array).item()


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def inputs(rng, n, k, dim, captions):
    centres = rng.normal(size=(k, dim))
    truth = rng.integers(0, k, n)
    images = unit(centres[truth] + 1.5 * rng.normal(size=(n, dim)))
    texts = unit(np.repeat(images, captions, axis=0) + 0.4 * rng.normal(size=(n * captions, dim)))
    many = (rng.random((n, k)) < 0.2) | (np.arange(k) == truth[:, None])
    strangers = unit(rng.normal(size=(n // 2, dim)))
    other = np.where(rng.random(n) < 0.6, truth, rng.integers(0, k, n))
    return dict(images=images, classes=unit(centres), truth=truth, texts=texts, captions=captions, many=many,
                strangers=strangers, other=other, scale=12.0)


def peers(x):
    images, classes, truth = x["images"].astype(np.float64), x["classes"].astype(np.float64), x["truth"]
    k, n = len(classes), len(images)
    logits = x["scale"] * images @ classes.T
    p = torch.softmax(torch.tensor(logits), 1)
    t = torch.tensor(truth)
    out = {}
    # scikit-learn
    out["sklearn/acc1"] = top_k_accuracy_score(truth, logits, k=1)
    out["sklearn/acc5"] = top_k_accuracy_score(truth, logits, k=5)
    out["sklearn/mean_per_class_recall"] = balanced_accuracy_score(truth, logits.argmax(1))
    out["sklearn/mAP"] = average_precision_score(x["many"], logits, average="macro")
    out["sklearn/log_loss"] = log_loss(truth, p.numpy(), labels=range(k))
    known, strange = (images @ classes.T).max(1), (x["strangers"].astype(np.float64) @ classes.T).max(1)
    scores, is_known = np.r_[known, strange], np.r_[np.ones(len(known)), np.zeros(len(strange))]
    out["sklearn/auroc"] = roc_auc_score(is_known, scores)
    out["sklearn/aupr"] = average_precision_score(is_known, scores)
    fpr, tpr, _ = roc_curve(is_known, scores, drop_intermediate=False)
    out["sklearn/fpr95"] = fpr[tpr >= 0.95 - 1e-12][0]
    lam = 1e-2
    clf = LogisticRegression(C=1 / (lam * n), tol=1e-10, max_iter=10000).fit(images, truth)
    out["sklearn/probe_log_loss"] = log_loss(truth, clf.predict_proba(images), labels=range(k))
    out["sklearn/probe_accuracy"] = clf.score(images, truth)
    # torchmetrics
    out["torchmetrics/acc1"] = MulticlassAccuracy(k, average="micro")(p, t).item()
    out["torchmetrics/mean_per_class_recall"] = MulticlassAccuracy(k, average="macro")(p, t).item()
    torch.set_default_dtype(torch.float64)
    out["torchmetrics/ece"] = MulticlassCalibrationError(k, n_bins=15, norm="l1")(p, t).item()
    out["torchmetrics/mAP"] = MultilabelAveragePrecision(k, average="macro")(torch.sigmoid(torch.tensor(logits)), torch.tensor(x["many"]).long()).item()
    out["torchmetrics/auroc"] = BinaryAUROC()(torch.tensor((scores + 1) / 2), torch.tensor(is_known).long()).item()
    similarity = torch.tensor(x["texts"].astype(np.float64) @ images.T)  # texts × images
    owner = torch.arange(n).repeat_interleave(x["captions"])
    positive = torch.zeros_like(similarity, dtype=torch.bool)
    positive[torch.arange(len(similarity)), owner] = True
    for name, s, rel in (("text_to_image", similarity, positive), ("image_to_text", similarity.T, positive.T)):
        q = torch.arange(s.shape[0]).repeat_interleave(s.shape[1])
        # torchmetrics takes scores for probabilities and drops relevant candidates at or below 0: shift them.
        flat = (s.reshape(-1) / 2 + 1, rel.reshape(-1))
        for at in (1, 5, 10):
            out[f"torchmetrics/{name}_R@{at}"] = RetrievalHitRate(top_k=at)(*flat, indexes=q).item()
            out[f"clip_benchmark/{name}_R@{at}"] = (recall_at_k(s, rel, at) > 0).double().mean().item()
        out[f"torchmetrics/{name}_mAP"] = RetrievalMAP()(*flat, indexes=q).item()
    torch.set_default_dtype(torch.float32)
    # CLIP_benchmark
    a1, a5 = accuracy(torch.tensor(logits), t, topk=(1, 5))
    out["clip_benchmark/acc1"], out["clip_benchmark/acc5"] = float(a1), float(a5)
    out["clip_benchmark/mAP"] = average_precision_per_class(torch.tensor(logits), torch.tensor(x["many"])).double().mean().item()
    # scipy
    mine, other = logits.argmax(1) == truth, x["other"] == truth
    b, c = int((mine & ~other).sum()), int((other & ~mine).sum())
    out["scipy/mcnemar_p"] = binomtest(min(b, c), b + c, 0.5).pvalue
    return {key: float(v) for key, v in out.items()}


def listed(x):
    return {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in x.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    seed = 7 if args.write else args.seed if args.seed is not None else int.from_bytes(os.urandom(2), "little")
    size = (120, 8, 12, 3) if args.write else (600, 20, 48, 5)
    x = inputs(np.random.default_rng(seed), *size)
    fixture = {"inputs": listed(x), "want": peers(x)}
    if args.write:
        path = ROOT / "eval" / "testdata" / "peers.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fixture) + "\n")
        print(f"{path}: {len(fixture['want'])} numbers")
        return
    with tempfile.TemporaryDirectory() as d:
        path = Path(d) / "peers.json"
        path.write_text(json.dumps(fixture))
        print(f"seed {seed}: {size[0]} images, {size[1]} classes, dimension {size[2]}, {size[3]} captions an image")
        done = subprocess.run(["go", "test", "./eval", "-count=1", "-run", "^TestPeers$", "-v", "-args", "-peers", str(path)], cwd=ROOT, capture_output=True, text=True)
    print("\n".join(l.split(": ", 1)[-1] for l in done.stdout.splitlines() if "difference" in l) or done.stdout + done.stderr)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
