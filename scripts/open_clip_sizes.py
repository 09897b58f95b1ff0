"""Writes what open_clip makes of the built-in names: sizes, and a hash over the names and shapes of all tensors.

  python scripts/open_clip_sizes.py > checkpoints/foreign/testdata/open_clip_sizes.json

Development only: it needs open_clip_torch 3.3.0 and timm. Models are made on the meta device, without memory or download.
A "-quickgelu" name that open_clip does not list is its plain configuration with quick_gelu set.
"""
import copy, hashlib, json

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP

SUFFIX = "-quickgelu"
PLAIN = ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-M-32", "ViT-S-32", "ViT-S-16", "RN50", "RN101", "RN50x4"]


def describe(name):
    listed = name in open_clip.list_models()
    config = copy.deepcopy(open_clip.get_model_config(name if listed else name.removesuffix(SUFFIX)))
    if name.endswith(SUFFIX):
        config["quick_gelu"] = True
    custom = config.pop("custom_text", False)
    if "timm_model_name" in config["vision_cfg"]:
        custom, config["vision_cfg"]["timm_model_pretrained"] = True, False
    with torch.device("meta"):
        model = (CustomTextCLIP if custom else CLIP)(**config)
    state, names = model.state_dict(), {n for n, _ in model.named_parameters()}
    lines = "".join(f"{k} {list(v.shape)}\n" for k, v in sorted(state.items()))
    return dict(name=name, listed=listed, parameters=sum(p.numel() for p in model.parameters()), image_parameters=sum(p.numel() for p in model.visual.parameters()),
                buffers=sum(v.numel() for k, v in state.items() if k not in names), tensors=len(state), names_and_shapes=hashlib.sha256(lines.encode()).hexdigest())


rows = [describe(n) for p in PLAIN for n in (p, p + SUFFIX)] + [describe("ViT-B-16-SigLIP")]
print(json.dumps(dict(open_clip=open_clip.__version__, models=rows), indent=1))
