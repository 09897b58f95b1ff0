#!/usr/bin/env python3
"""From files to batches side by side: tandem's loader against open_clip's webdataset loader, on the same pictures.

    python scripts/loader_peer.py [--dir FOLDER] [--rounds 3] [--workers 1 2] [--seconds 4] [--images 512]

Builds shards of the pictures with `data build`, exports the same rows as webdataset tars with `data export`, and then
measures in interleaved rounds: open_clip's training pipeline (decode, RandomResizedCrop(224, scale 0.9-1, bicubic),
normalise, tokenise, batch of 64; workers are processes) and `data speed` (the same, workers are goroutines): exact, fast,
and from the cache of decoded pictures (shortest side 256). Prints one table of medians. Processor time is that of all
processes. Needs torch, open_clip_torch, webdataset==0.2.86 (what open_clip pins), pandas, scikit-image, scikit-learn (for the pictures) and Go.
"""
import argparse, json, os, resource, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))
from decode_peer import make_pictures  # noqa: E402


def prepare(work, folder, images):
    """Copies the pictures until there are enough, with captions, and makes shards and tars of them."""
    source = work / "folder"
    source.mkdir()
    pictures = sorted(folder.glob("*.jpg"))
    for i in range(images):
        shutil.copy(pictures[i % len(pictures)], source / f"{i:05}.jpg")
        (source / f"{i:05}.txt").write_text(f"a photograph of something, number {i}, as one finds it on the web")
    binary = work / "data"
    subprocess.run(["go", "build", "-o", binary, "./cmd/data"], check=True)
    subprocess.run([binary, "build", "-out", work / "shards", source], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([binary, "export", "-to", "webdataset", "-file-size", "8MB", "-out", work / "tars", work / "shards"], check=True, stdout=subprocess.DEVNULL)
    return binary


def cpu():
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peer(tars, seconds, workers, images):
    """One process that runs open_clip's loader; prints images/s and processor time an image."""
    code = f"""
import time, resource, os, torch
from types import SimpleNamespace
torch.set_num_threads(1)
import open_clip
from open_clip_train.data import get_wds_dataset
from open_clip.transform import image_transform
preprocess = image_transform(224, is_train=True, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD)
args = SimpleNamespace(train_data={str(tars)!r}, train_num_samples={images * 1000}, train_data_upsampling_factors=None, dataset_resampled=True,
    seed=0, batch_size=64, workers={workers}, world_size=1, rank=0, val_data=None, val_num_samples=None)
data = get_wds_dataset(args, preprocess, is_train=True, tokenizer=open_clip.get_tokenizer("ViT-B-32"))
batches = iter(data.dataloader)
for _ in range(4): next(batches)
def cpu():
    t = 0
    for pid in [os.getpid()] + [p.pid for p in __import__("multiprocessing").active_children()]:
        f = open(f"/proc/{{pid}}/stat").read().rsplit(")", 1)[1].split()
        t += int(f[11]) + int(f[12])
    return t / os.sysconf("SC_CLK_TCK")
n, began, before = 0, time.perf_counter(), cpu()
while time.perf_counter() - began < {seconds}:
    images, texts = next(batches)
    n += len(images)
print(n / (time.perf_counter() - began), 1e3 * (cpu() - before) / n, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    out = done.stdout.split()
    return float(out[-2]), float(out[-1])


def ours(binary, shards, seconds, workers, *flags):
    before = cpu()
    out = subprocess.run([binary, "speed", "-json", "-seconds", str(seconds), "-workers", str(workers), *flags, shards], check=True, capture_output=True, text=True)
    r = json.loads(out.stdout)
    made = r["stats"]["pairs"]  # warming up included, as in the processor time
    return r["images_per_second"], 1e3 * (cpu() - before) / made


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--images", type=int, default=512)
    p.add_argument("--size", default="640x480")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        folder = Path(a.dir) if a.dir else work / "pictures"
        if not a.dir:
            folder.mkdir()
            make_pictures(folder, a.size)
        binary = prepare(work, folder, a.images)
        count = len(list((work / "tars").glob("*.tar")))
        tars = work / "tars" / f"train-{{00000..{count - 1:05}}}.tar"
        print(f"{a.images} pictures of {a.size}, {sum(f.stat().st_size for f in folder.glob('*.jpg')) / len(list(folder.glob('*.jpg'))) / 1000:.0f} kB each, {count} tars")
        print("| workers | what | images/s | × peer | CPU ms an image | × peer |\n|---|---|---|---|---|---|")
        for workers in a.workers:
            kinds = {
                "open_clip, webdataset": lambda: peer(tars, a.seconds, workers, a.images),
                "tandem, exact": lambda: ours(binary, work / "shards", a.seconds, workers),
                "tandem, cached at 256": lambda: ours(binary, work / "shards", a.seconds, workers, "-cache", "4GB", "-fit", "256", "-warm", "1"),
            }
            results = {k: [] for k in kinds}
            for _ in range(a.rounds):
                for k, run in kinds.items():
                    results[k].append(run())
            medians = {k: [statistics.median(r[i] for r in results[k]) for i in (0, 1)] for k in kinds}
            base = medians["open_clip, webdataset"]
            for k, (rate, ms) in medians.items():
                print(f"| {workers} | {k} | {rate:.0f} | {rate / base[0]:.2f} | {ms:.2f} | {base[1] / ms:.2f} |", flush=True)


if __name__ == "__main__":
    main()
