#!/bin/sh
# gpu.sh: training speed on one NVIDIA GPU, tandem against torch (bfloat16 autocast, compiled) and JAX (bfloat16).
#
#   sh bench/gpu.sh build DIR     here: put the binary and the peers' scripts into DIR
#   sh DIR/gpu.sh [ROUNDS]        there: run everything in turn and print a table (also in DIR/results.jsonl)
#
# There it needs a driver, the CUDA plugin of XLA where tandem looks for it (it installs one with pip if it can) and, for
# the peers, python3 with torch, open_clip_torch and jax[cuda12]. Who is missing is named and left out.
set -eu

if [ "${1:-}" = build ]; then
    mkdir -p "$2"
    go build -o "$2/bench" ./cmd/bench
    cp scripts/peers/*.py bench/gpu.sh "$2/"
    exit
fi

cd "$(dirname "$0")"
rounds=${1:-3}
: > results.jsonl
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader

# ours CONFIG BATCH
ours() { ./bench -backend xla:cuda -config "$1" -batch "$2" -steps 20 -dtype bfloat16 -json; }
# torch CONFIG BATCH, jax CONFIG BATCH
torch() { python3 torch_train.py --device cuda --config "$1" --batch "$2" --steps 20 --mode compile_bf16 | tail -1; }
jax() { python3 jax_train.py --device cuda --config "$1" --batch "$2" --steps 20 --bf16 --bhld | tail -1; }

for round in $(seq "$rounds"); do
    for pair in "S 1024" "B32 512" "B16 256" "L14 64"; do
        set -- $pair
        for who in ours torch jax; do
            if line=$($who "$1" "$2" 2>error.txt); then
                printf '{"who":"%s","config":"%s","batch":%s,"round":%s,"result":%s}\n' "$who" "$1" "$2" "$round" "$line" >> results.jsonl
            else
                echo "$who $1: left out: $(tail -1 error.txt)" >&2
            fi
        done
    done
done

# The table: medians over rounds. A row's MFU is its matrix products over the card's dense bfloat16 peak, PEAK_TFLOPS (989 on an H100 or H200).
python3 - <<'PY'
import json, os, statistics as st
rows = {}
for line in open("results.jsonl"):
    d = json.loads(line)
    r = d["result"]
    rate = r.get("images_per_s") or r["img_per_s_median"]
    memory = r.get("device_peak_mib") or 0
    rows.setdefault((d["config"], d["batch"], d["who"]), []).append((rate, r["gflops"], memory))
peak = float(os.environ.get("PEAK_TFLOPS", "989")) * 1000
print(f"{'config':8}{'batch':>6}  {'who':6}{'images/s':>10}{'spread':>18}{'MFU':>7}{'MiB':>8}")
for (config, batch, who), v in rows.items():
    rate = [x[0] for x in v]
    spread = f"{min(rate):.0f}–{max(rate):.0f}"
    print(f"{config:8}{batch:6}  {who:6}{st.median(rate):10.0f}{spread:>18}{st.median([x[1] for x in v]) / peak:7.1%}{max(x[2] for x in v):8.0f}")
PY
