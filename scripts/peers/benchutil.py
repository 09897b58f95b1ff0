"""Shared measuring code: step times, peak RSS, and how busy the rest of the machine was."""
import json, os, resource, statistics as st, sys, time

RESULTS = os.environ.get("BENCH_RESULTS")  # a file to append full records to, if wanted

CFGS = {
    # B = batch; everything else is the open_clip model_cfg
    "S": dict(batch=128, cfg=dict(embed_dim=256,
              vision_cfg=dict(image_size=64, layers=6, width=256, patch_size=8, head_width=64),
              text_cfg=dict(context_length=32, vocab_size=8192, width=256, heads=4, layers=4))),
    "B32": dict(batch=16, cfg=dict(embed_dim=512,
              vision_cfg=dict(image_size=224, layers=12, width=768, patch_size=32),
              text_cfg=dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12))),
}
CFGS["B16"] = dict(batch=16, cfg=dict(embed_dim=512, vision_cfg=dict(image_size=224, layers=12, width=768, patch_size=16), text_cfg=CFGS["B32"]["cfg"]["text_cfg"]))
CFGS["L14"] = dict(batch=8, cfg=dict(embed_dim=768, vision_cfg=dict(image_size=224, layers=24, width=1024, patch_size=14),
                   text_cfg=dict(context_length=77, vocab_size=49408, width=768, heads=12, layers=12)))
OPT = dict(lr=5e-4, b1=0.9, b2=0.98, eps=1e-6, wd=0.2)


def fwd_flops_per_sample(cfg):
    """2*MAC matmul FLOPs of one forward pass (image, text)."""
    v, t, e = cfg["vision_cfg"], cfg["text_cfg"], cfg["embed_dim"]
    def tower(n, d, layers):
        return layers * (n * 24 * d * d + 4 * n * n * d)
    g = v["image_size"] // v["patch_size"]
    img = tower(g * g + 1, v["width"], v["layers"]) + 2 * g * g * 3 * v["patch_size"] ** 2 * v["width"] + 2 * v["width"] * e
    txt = tower(t["context_length"], t["width"], t["layers"]) + 2 * t["width"] * e
    return img, txt


def make_batches(cfg, batch, n=4, seed=0):
    """n fixed random batches (numpy): images NCHW float32, tokens int64 with SOT/EOT and zero padding."""
    import numpy as np
    r = np.random.default_rng(seed)
    s = cfg["vision_cfg"]["image_size"]; t = cfg["text_cfg"]; L, V = t["context_length"], t["vocab_size"]
    out = []
    for _ in range(n):
        img = r.standard_normal((batch, 3, s, s), dtype=np.float32)
        tok = np.zeros((batch, L), np.int64)
        for i in range(batch):
            k = int(r.integers(5, L))          # position of the end token
            tok[i, 0] = V - 2
            tok[i, 1:k] = r.integers(1, V - 2, size=k - 1)
            tok[i, k] = V - 1                  # highest id: argmax pooling finds it
        out.append((img, tok))
    return out


def _busy():
    f = open("/proc/stat").readline().split()[1:]
    f = list(map(int, f))
    idle = f[3] + f[4]
    return (sum(f[:8]) - idle) / os.sysconf("SC_CLK_TCK"), f[7] / os.sysconf("SC_CLK_TCK")


class Window:
    """Wall, own CPU, and everyone else's CPU over a window."""
    def __enter__(self):
        self.t0 = time.perf_counter(); self.c0 = time.process_time(); self.b0, self.s0 = _busy(); self.l0 = os.getloadavg(); return self
    def __exit__(self, *a):
        self.wall = time.perf_counter() - self.t0
        self.own = time.process_time() - self.c0
        b, s = _busy()
        self.others = max(0.0, (b - self.b0) - self.own)
        self.steal = s - self.s0
        self.l1 = os.getloadavg()


def run_steps(step, n):
    """n calls of step(i) -> seconds; also the cores that OTHER processes used during each."""
    times, others = [], []
    for i in range(n):
        w = Window()
        with w:
            times.append(step(i))
        others.append(round(w.others / w.wall, 3))
    return times, others


def wait_quiet(limit=240, need=4.0, thresh=0.06):
    """Wait until nobody else has used more than thresh cores for `need` seconds; returns seconds waited."""
    t0 = time.time(); ok = 0.0
    while time.time() - t0 < limit and ok < need:
        w = Window()
        with w:
            time.sleep(1.0)
        ok = ok + 1.0 if w.others / w.wall < thresh else 0.0
    return round(time.time() - t0, 1)


def report(name, times, batch, first, win, rss_import, extra=None, flops=None, others=None):
    med = st.median(times)
    quiet = [t for t, o in zip(times, others or []) if o < 0.06]
    row = dict(
        when=time.strftime("%H:%M:%S"), name=name, batch=batch, n=len(times),
        first_s=round(first, 3), median_s=round(med, 4), min_s=round(min(times), 4), max_s=round(max(times), 4),
        img_per_s_median=round(batch / med, 2), img_per_s_best=round(batch / min(times), 2),
        gflops=round(flops / med / 1e9, 1) if flops else None,
        peak_rss_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        rss_after_import_mib=rss_import,
        quiet_n=len(quiet), quiet_median_s=round(st.median(quiet), 4) if quiet else None,
        own_cores=round(win.own / win.wall, 2), other_cores=round(win.others / win.wall, 3), steal_cores=round(win.steal / win.wall, 3),
        load_before=[round(x, 2) for x in win.l0], load_after=[round(x, 2) for x in win.l1],
        times=[round(t, 4) for t in times], others=others,
    )
    row.update(extra or {})
    if RESULTS:
        with open(RESULTS, "a") as f:
            f.write(json.dumps(row) + "\n")
    show = {k: v for k, v in row.items() if k not in ("times", "others")}
    print(json.dumps(show), flush=True)
    return row


def rss_now_mib():
    return round(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)


def measure(a, name, step, batch, flops, rss_import, extra, losses, device_peak):
    """Runs the first step, the warm-up and the counted steps, and reports them. device_peak() is in bytes."""
    if a.quiet:
        extra["waited_s"] = wait_quiet(a.quiet)
    with Window() as w0:
        first = step(0)
    extra["first_other_cores"] = round(w0.others / w0.wall, 3)
    for i in range(a.warm):
        step(1 + i)
    with Window() as w:
        times, others = run_steps(lambda i: step(1 + a.warm + i), a.steps)
    if losses:
        extra["losses"] = [round(x, 4) for x in losses[:3] + losses[-1:]]
    if a.device == "cuda":
        extra["device_peak_mib"] = round(device_peak() / 2**20)
    report(name, times, batch, first, w, rss_import, extra, flops, others)
