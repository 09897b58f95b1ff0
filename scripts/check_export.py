"""Loads what cmd/convert writes in open_clip and transformers and compares logits with the model it came from.

  python scripts/check_export.py [CONVERT]

CONVERT is a built cmd/convert; without it, the script builds one. Development only: it needs Go, torch, open_clip_torch,
timm and transformers. Weights are random, so that nothing is downloaded. Exits with 1 if a difference is too large.
"""
import hashlib, json, subprocess, sys, tempfile, warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
torch.set_num_threads(2)

import open_clip
import transformers
from open_clip.model import CLIP, CustomTextCLIP
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

transformers.logging.set_verbosity_error()
LIMIT = 1e-4  # of logits in float32, whose scale is about 14
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
failures = []


def convert(binary, to, src, dst):
    done = subprocess.run([binary, "-to", to, src, dst], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def must_convert(binary, to, src, dst):
    code, text = convert(binary, to, src, dst)
    assert code == 0, text
    return dst


def verdict(name, ok, text):
    print(f"{'ok  ' if ok else 'FAIL'} {name:58} {text}", flush=True)
    if not ok:
        failures.append(name)


def enlarge(model, factor):
    """Untrained models give nearly one feature for all inputs; gains and biases off 1 and 0 catch what is swapped."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "logit" in name:
                continue
            p.mul_(factor) if p.ndim >= 2 else p.add_(0.05 * torch.randn(p.shape, generator=g))


def save_open_clip(d, cls, cfg, mean, std, mode, dtype=torch.float32, factor=1.5):
    torch.manual_seed(0)
    model = cls(**{k: v for k, v in cfg.items() if k != "custom_text"})
    enlarge(model, factor)
    d.mkdir(parents=True)
    save_file({k: v.to(dtype if v.is_floating_point() else v.dtype).contiguous() for k, v in model.state_dict().items()}, d / "open_clip_model.safetensors",
              metadata={"format": "pt"})
    (d / "open_clip_config.json").write_text(json.dumps(dict(model_cfg=cfg, preprocess_cfg=dict(mean=mean, std=std, interpolation="bicubic", resize_mode=mode))))


def save_hf(d, model, factor=1.5):
    torch.manual_seed(0)
    enlarge(model, factor)
    model.save_pretrained(d)


def inputs(size, context, vocab, end, pad):
    g = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, size, size, generator=g) + 2 * torch.randn(3, 3, 1, 1, generator=g)
    tokens = torch.full((3, context), pad)
    for i, n in enumerate([context - 1, 3, context // 2]):
        tokens[i, :n] = torch.randint(3, vocab - 2, (n,), generator=g)
        if end is not None:
            tokens[i, n] = end
    return images, tokens


def open_clip_logits(d, images, tokens):
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{d}")
    with torch.no_grad():
        return model.float().eval().get_logits(images, tokens)[0]


def hf_logits(d, images, tokens):
    model = AutoModel.from_pretrained(d, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(input_ids=tokens, pixel_values=images).logits_per_image


LOGITS = {"open_clip": open_clip_logits, "hf": hf_logits}


def sums(d):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(d).iterdir())}


def check(binary, work, name, own, other, feed):
    """own → tandem → own must be the same files; own → other and own → tandem → other must give the same logits."""
    src = work / name / "src"
    tandem = must_convert(binary, "tandem", src, work / name / "tandem")
    back = must_convert(binary, own, tandem, work / name / "back")
    same = {k: v for k, v in sums(src).items() if k in sums(back)} == sums(back)
    weights = [p.name for p in src.glob("*.safetensors")][0]
    verdict(f"{name}: {own} → tandem → {own}", same, f"{weights} sha256 {sums(back)[weights][:16]}… {'equal' if same else 'differs'}")
    want = LOGITS[own](src, *feed)
    for route, start in ((f"{own} → {other}", src), (f"{own} → tandem → {other}", tandem)):
        dst = must_convert(binary, other, start, work / name / route.replace(" → ", "-"))
        difference = float((LOGITS[other](dst, *feed) - want).abs().max())
        verdict(f"{name}: {route}", difference < LIMIT, f"largest difference of logits {difference:.1e}, logits {float(want.min()):.2f} … {float(want.max()):.2f}")
    return dst


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else None
    print(f"open_clip {open_clip.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as temp:
        work = Path(temp)
        if binary is None:
            binary = str(work / "convert")
            subprocess.run(["go", "build", "-o", binary, "./cmd/convert"], check=True, cwd=Path(__file__).parent.parent)
        text = dict(context_length=77, vocab_size=49408, width=64, heads=4, layers=2)
        vision = dict(image_size=64, layers=3, width=96, patch_size=16, head_width=24)
        clip_feed = inputs(64, 77, 49408, 49407, 0)
        for name, cfg, dtype in (("ViT GELU", {}, torch.float32), ("ViT QuickGELU", dict(quick_gelu=True), torch.float32), ("ViT half", {}, torch.float16),
                                 ("ViT bfloat16", {}, torch.bfloat16)):
            save_open_clip(work / name / "src", CLIP, dict(embed_dim=48, vision_cfg=vision, text_cfg=text, **cfg), CLIP_MEAN, CLIP_STD, "shortest", dtype)
            dst = check(binary, work, name, "open_clip", "hf", clip_feed)
        check_inputs(dst, work / "ViT GELU" / "src")

        siglip_text = dict(context_length=16, vocab_size=500, width=768, heads=12, layers=1, no_causal_mask=True, proj_bias=True, pool_type="last",
                           norm_kwargs=dict(eps=1e-6), hf_tokenizer_name="timm/ViT-B-16-SigLIP", tokenizer_kwargs=dict(clean="canonicalize"))
        for name, act in (("SigLIP", {}), ("SigLIP tanh text", dict(act_kwargs=dict(approximate="tanh")))):
            save_open_clip(work / name / "src", CustomTextCLIP, dict(embed_dim=768, init_logit_bias=-10, custom_text=True,
                           vision_cfg=dict(image_size=224, timm_model_name="vit_base_patch16_siglip_224", timm_model_pretrained=False, timm_pool="map", timm_proj="none"),
                           text_cfg=dict(siglip_text, **act)), (0.5,) * 3, (0.5,) * 3, "squash", factor=2)
            check(binary, work, name, "open_clip", "hf", inputs(224, 16, 500, None, 1))

        hf_text = dict(vocab_size=49408, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77)
        hf_vision = dict(hidden_size=96, intermediate_size=250, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=16)
        for name, act, eos in (("CLIPModel QuickGELU", "quick_gelu", 49407), ("CLIPModel GELU, old end token", "gelu", 2)):
            config = CLIPConfig(projection_dim=48, text_config=dict(hf_text, hidden_act=act, eos_token_id=eos), vision_config=dict(hf_vision, hidden_act=act))
            save_hf(work / name / "src", CLIPModel(config), 3)
            check(binary, work, name, "hf", "open_clip", clip_feed)
        name = "SiglipModel"
        config = SiglipConfig(text_config=dict(vocab_size=500, hidden_size=768, intermediate_size=3072, num_hidden_layers=1, num_attention_heads=12,
                              max_position_embeddings=16, hidden_act="gelu_pytorch_tanh", bos_token_id=None, eos_token_id=1), vision_config=dict(hidden_act="gelu"))
        model = SiglipModel(config)
        with torch.no_grad():
            model.logit_scale.fill_(2.3), model.logit_bias.fill_(-10)
        save_hf(work / name / "src", model, 2)
        check(binary, work, name, "hf", "open_clip", inputs(224, 16, 500, None, 1))

        save_open_clip(work / "ResNet" / "src", CLIP, dict(embed_dim=48, vision_cfg=dict(image_size=64, layers=[1, 1, 1, 1], width=16, patch_size=None), text_cfg=text),
                       CLIP_MEAN, CLIP_STD, "shortest")
        code, said = convert(binary, "hf", work / "ResNet" / "src", work / "ResNet" / "hf")
        verdict("ResNet: open_clip → hf is refused", code == 2 and not (work / "ResNet" / "hf").exists(), said.strip().splitlines()[-1])
    if failures:
        sys.exit(f"{len(failures)} failures: {failures}")


def check_inputs(hf_dir, open_clip_dir):
    """The processor and the tokenizer that were written load in transformers and do what open_clip does."""
    texts = ["a photo of a cat", "Hello, World!", "it's 2024 & we're here"]
    ids = AutoTokenizer.from_pretrained(hf_dir)(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    want = open_clip.get_tokenizer(f"local-dir:{open_clip_dir}")(texts)
    same = all(torch.equal(a[: int(b.argmax()) + 1], b[: int(b.argmax()) + 1]) for a, b in zip(ids, want))
    verdict("tokenizer written for transformers", same, "ids up to the end token are open_clip's")
    from PIL import Image
    import numpy as np
    y, x = np.mgrid[0:90, 0:150]
    picture = Image.fromarray(np.stack([x, y * 2, (x + y) % 256], -1).astype(np.uint8))
    got = AutoImageProcessor.from_pretrained(hf_dir)(picture, return_tensors="pt").pixel_values[0]
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{open_clip_dir}")
    difference = float((got - transform(picture)).abs().max())
    verdict("image processor written for transformers", difference < 0.05, f"largest difference of a normalised pixel {difference:.1e}")


if __name__ == "__main__":
    main()
