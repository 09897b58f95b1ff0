"""Times the matrix products of a training step in numpy (OpenBLAS), torch (MKL) and JAX (XLA), in turns, on two threads.

    python3 scripts/products_peer.py [ROUNDS]

Prints GFLOP/s, the median of all rounds' medians with their spread. Shapes are those of bench's configurations S (8,320
rows of 256 and 1,024) and B32 (800 rows of 768 and 3,072): forward, gradient by the input, gradient by the weights.
"""
import os
import sys
import time

os.environ.update(OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")

import jax  # noqa: E402
import numpy  # noqa: E402
import torch  # noqa: E402

SHAPES = ((8320, 256, 1024), (8320, 1024, 256), (256, 8320, 1024), (800, 768, 3072), (800, 3072, 768), (768, 800, 3072))
torch.set_num_threads(2)


def contestants(a, b):
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    product = jax.jit(lambda x, y: x @ y)
    x, y = jax.device_put(a), jax.device_put(b)
    out = numpy.empty((a.shape[0], b.shape[1]), numpy.float32)
    result = torch.from_numpy(out)
    return {
        "OpenBLAS": lambda: numpy.dot(a, b, out=out),
        "MKL": lambda: torch.mm(left, right, out=result),
        "XLA": lambda: product(x, y).block_until_ready(),
    }


def seconds(f, times=12):
    f(), f()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        f()
        took.append(time.perf_counter() - began)
    return sorted(took)[times // 2]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rates = {}
    for _ in range(rounds):
        for m, k, n in SHAPES:
            a, b = numpy.random.rand(m, k).astype(numpy.float32), numpy.random.rand(k, n).astype(numpy.float32)
            for name, f in contestants(a, b).items():
                rates.setdefault((m, k, n), {}).setdefault(name, []).append(2e-9 * m * k * n / seconds(f))
    for shape, by in rates.items():
        cells = (f"{name} {sorted(r)[len(r) // 2]:.0f} ({min(r):.0f}–{max(r):.0f})" for name, r in by.items())
        print("×".join(map(str, shape)), "  ".join(cells))


main()
