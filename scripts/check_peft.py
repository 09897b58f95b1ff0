"""Loads the adapters of a run in Python's peft and compares its outputs with those of the merged model.

    python3 scripts/check_peft.py CONVERT RUN [STEP]

CONVERT is the convert program, RUN a run with tune.lora. Both the initial model and the checkpoint, which has the adapters
merged in, are exported to transformers' format; peft puts RUN's adapter on the first. Needs torch, transformers and peft.
"""
import os
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from transformers import CLIPModel

convert, run, *step = sys.argv[1:]
steps = os.path.join(run, "checkpoints")
step = step[0] if step else max(name for name in os.listdir(steps) if name.startswith("step-"))
checkpoint = os.path.join(steps, step)
with tempfile.TemporaryDirectory() as scratch:
    models = {}
    for name, source in (("base", os.path.join(run, "base")), ("merged", checkpoint)):
        out = os.path.join(scratch, name)
        subprocess.run([convert, "-to", "hf", source, out], check=True, stdout=subprocess.DEVNULL)
        models[name] = CLIPModel.from_pretrained(out).eval()
    config = models["base"].config
    torch.manual_seed(1)
    pixels = torch.randn(4, 3, config.vision_config.image_size, config.vision_config.image_size)
    tokens = torch.randint(1, config.text_config.vocab_size - 1, (4, config.text_config.max_position_embeddings))
    tokens[:, -1] = config.text_config.eos_token_id

    def features(model):
        with torch.no_grad():
            out = model(input_ids=tokens, pixel_values=pixels)
        return out.image_embeds, out.text_embeds

    plain = features(models["base"])
    adapted = features(PeftModel.from_pretrained(models["base"], os.path.join(checkpoint, "adapter")).eval())
    merged = features(models["merged"])
    for what, p, a, m in zip(("images", "texts"), plain, adapted, merged):
        print(f"{what}: the adapter moves the rows by {(a - p).abs().max():.3g}, peft and the merged model differ by {(a - m).abs().max():.3g}")
        if (a - m).abs().max() > 1e-5:
            sys.exit(f"{what}: peft's output differs")
