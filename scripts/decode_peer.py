#!/usr/bin/env python3
"""Decoding side by side: imaging's Trainer against Pillow + torchvision, in interleaved rounds on the same files.

    python scripts/decode_peer.py [--dir FOLDER] [--rounds 5] [--workers 1 2] [--seconds 3] [--size 640x480]

Each round runs, one after the other, torchvision's training transform as open_clip builds it (RandomResizedCrop(224,
scale 0.9–1, bicubic), convert to RGB, ToTensor, Normalize) and imaging's Trainer, exact and fast, to normalised
float32. Workers are processes there and goroutines here. Without --dir the pictures of scikit-image and scikit-learn
are cut and scaled to --size and saved as JPEG of quality 90. Needs torch, torchvision, pillow, scikit-image,
scikit-learn (for the pictures) and Go. Prints one table of medians.
"""
import argparse, glob, io, multiprocessing, os, re, resource, statistics, subprocess, tempfile, time
from pathlib import Path


def make_pictures(folder, size):
    import importlib.util
    from PIL import Image, ImageOps
    w, h = map(int, size.split("x"))
    k = 0
    for module, pattern in (("skimage", "data/*.[pj][pn]g"), ("sklearn", "datasets/images/*.jpg")):
        root = Path(importlib.util.find_spec(module).submodule_search_locations[0])
        for path in sorted(root.glob(pattern)):
            im = Image.open(path)
            if min(im.size) >= 300 and im.mode == "RGB":
                ImageOps.fit(im, (w, h), Image.Resampling.BICUBIC).save(folder / f"{k:03}.jpg", quality=90)
                k += 1
    return k


def peer(folder, seconds, results):
    import torch
    from PIL import Image
    from torchvision import transforms as T
    torch.set_num_threads(1)
    files = [Path(p).read_bytes() for p in sorted(glob.glob(f"{folder}/*.jpg"))]
    transform = T.Compose([
        T.RandomResizedCrop(224, scale=(0.9, 1.0), interpolation=T.InterpolationMode.BICUBIC), lambda im: im.convert("RGB"),
        T.ToTensor(), T.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])
    for data in files:
        transform(Image.open(io.BytesIO(data)))
    n, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        transform(Image.open(io.BytesIO(files[n % len(files)])))
        n += 1
    results.put((n / (time.perf_counter() - start), 1e3 * (time.process_time() - cpu) / n))


def run_peer(folder, seconds, workers):
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=peer, args=(folder, seconds, results)) for _ in range(workers)]
    for p in processes:
        p.start()
    got = [results.get() for _ in processes]
    for p in processes:
        p.join()
    return sum(r for r, _ in got), statistics.mean(c for _, c in got)


def run_ours(binary, folder, seconds, workers, fast):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([binary, "-test.run=^$", f"-test.bench=Folder/fast={str(fast).lower()}$", f"-test.benchtime={int(500 * seconds)}x",
                          f"-test.cpu={workers}", "-test.benchmem"], env=dict(os.environ, IMAGING_BENCH_DIR=str(folder)),
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [x for x in out.splitlines() if "images/s" in x][-1]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(re.search(r"([\d.]+) images/s", line)[1]), 1e3 * cpu / int(500 * seconds), float(re.search(r"([\d.]+) B/op", line)[1])


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--dir", type=Path)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    a.add_argument("--seconds", type=float, default=3)
    a.add_argument("--size", default="640x480")
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = a.dir or Path(tmp)
        count = len(list(folder.glob("*.jpg"))) if a.dir else make_pictures(folder, a.size)
        binary = f"{tmp}/imaging.test"
        subprocess.run(["go", "test", "-c", "-o", binary, "./imaging"], check=True)
        mean = sum(p.stat().st_size for p in folder.glob("*.jpg")) / count
        print(f"{count} files, {mean / 1e3:.0f} kB each, {a.rounds} rounds of {a.seconds} s; medians")
        print("| workers | what | images/s | × peer | CPU ms an image | × peer | B/op |\n|---|---|---|---|---|---|---|")
        for workers in a.workers:
            rows = {"Pillow + torchvision": [], "imaging, exact": [], "imaging, fast": []}
            for _ in range(a.rounds):
                rows["Pillow + torchvision"].append((*run_peer(folder, a.seconds, workers), 0))
                rows["imaging, exact"].append(run_ours(binary, folder, a.seconds, workers, False))
                rows["imaging, fast"].append(run_ours(binary, folder, a.seconds, workers, True))
            medians = {k: [statistics.median(x) for x in zip(*v)] for k, v in rows.items()}
            base = medians["Pillow + torchvision"]
            for name, (rate, cpu, bytes_op) in medians.items():
                print(f"| {workers} | {name} | {rate:.0f} | {rate / base[0]:.2f} | {cpu:.2f} | {base[1] / cpu:.2f} | {bytes_op:.0f} |")


if __name__ == "__main__":
    main()
