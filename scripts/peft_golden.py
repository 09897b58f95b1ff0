"""Makes checkpoints/peft/testdata with Python's peft: a tiny CLIPModel, two adapters, and the weights merged by peft.

    python3 scripts/peft_golden.py checkpoints/peft/testdata

Needs torch, transformers and peft (written with torch 2.15, transformers 5.23, peft 0.21).
"""
import os
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

torch.manual_seed(5)
out = sys.argv[1]
tower = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
config = CLIPConfig(
    text_config=dict(tower, vocab_size=40, max_position_embeddings=12, projection_dim=8, eos_token_id=39, bos_token_id=1),
    vision_config=dict(tower, image_size=16, patch_size=8, projection_dim=8),
    projection_dim=8,
)
base = CLIPModel(config)
shutil.rmtree(out, ignore_errors=True)
base.save_pretrained(os.path.join(out, "base"))
for name, targets, rslora in [
    ("all", ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], False),
    ("qv", ["q_proj", "v_proj"], True),
]:
    model = CLIPModel.from_pretrained(os.path.join(out, "base"))
    peft = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules=targets, use_rslora=rslora))
    with torch.no_grad():
        for key, value in peft.named_parameters():
            if "lora_" in key:
                value.normal_(0, 0.2)
    peft.save_pretrained(os.path.join(out, name))
    os.remove(os.path.join(out, name, "README.md"))
    merged = peft.merge_and_unload().state_dict()
    save_file({k: v.contiguous() for k, v in merged.items()}, os.path.join(out, name, "merged.safetensors"))
