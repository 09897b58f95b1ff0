"""Golden files of small models for checkpoints/foreign and cmd/parity.

  python scripts/golden_models.py OUT [NAME ...]

Each directory has a random model in the peer's own format with its inputs, the outputs of its modules, features, losses,
gradients and the weights after three steps of AdamW, in the layout that docs/pretrained.md describes. The models differ
in every field of their configurations that is implemented; they are as narrow as they can be, so that all of them
fit testdata. Development only: it needs torch, open_clip_torch, timm, transformers and safetensors. Everything is seeded and
single-threaded.
"""
import copy, json, math, sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

import open_clip.timm_model as open_clip_timm
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip.model import CLIP, CustomTextCLIP
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

VOCAB, CONTEXT, BATCH = 64, 10, 4
ADAM, DECAY = dict(lr=5e-4, betas=(0.9, 0.98), eps=1e-6), 0.2
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def dump(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def perturb(model, seed, factor):
    """Moves gains, biases and statistics off 1 and 0, so that a reader that drops or swaps one is caught, and
    enlarges matrices by a factor, so that the features of different inputs differ."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "logit" in name:
                continue
            if p.ndim >= 2:
                p.mul_(factor)
            elif "class_embedding" not in name:
                noise = torch.randn(p.shape, generator=g)
                p.copy_(1 + 0.1 * noise if name.endswith("weight") else 0.05 * noise)
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(0.1 * torch.randn(b.shape, generator=g))
            elif name.endswith("running_var"):
                b.copy_(0.5 + torch.rand(b.shape, generator=g))


def calibrate(model, size, seed):
    """Running statistics near what the layers see, then a tenth off: otherwise every image gets one feature."""
    g = torch.Generator().manual_seed(seed)
    model.train()
    with torch.no_grad():
        for k in range(40):
            model.visual(make_images(size, seed + k))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.add_(0.1 * b.abs().mean() * torch.randn(b.shape, generator=g))
            elif name.endswith("running_var"):
                b.mul_(0.9 + 0.2 * torch.rand(b.shape, generator=g))


def make_images(size, seed):
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    colour, ramp = torch.randn(BATCH, 3, 1, 1, generator=g) * 1.2, torch.randn(BATCH, 3, 2, generator=g)
    noise = 0.5 * torch.randn(BATCH, 3, size, size, generator=g)
    return (noise + colour + ramp[..., 0, None, None] * x + ramp[..., 1, None, None] * y).contiguous()


def make_tokens(kind, seed):
    """Captions of different lengths: start, words, end, padding. kind: argmax (end is the largest id), eos (end is 5,
    which is not the largest, and words may be larger), pad_with_end, siglip (no start, padding 1)."""
    r = np.random.default_rng(seed)
    tokens = np.full((BATCH, CONTEXT), 1 if kind == "siglip" else 0, np.int64)
    for i, last in enumerate([CONTEXT - 1, 2, CONTEXT // 2, CONTEXT - 3]):
        words = r.integers(6, VOCAB - 2, size=last)
        if kind == "siglip":
            tokens[i, :last] = words
            continue
        end = 5 if kind == "eos" else VOCAB - 1
        tokens[i, 0], tokens[i, 1:last], tokens[i, last] = VOCAB - 2, words[1:], end
        if kind == "pad_with_end":
            tokens[i, last:] = end
    return torch.from_numpy(tokens)


class OpenCLIP:
    def __init__(self, siglip):
        self.siglip = siglip

    def features(self, m, images, tokens):
        return m.encode_image(images), m.encode_text(tokens)

    def scale_bias(self, m):
        return m.logit_scale.exp(), m.logit_bias

    def losses(self, m, images, tokens):
        i, t = (F.normalize(x, dim=-1) for x in self.features(m, images, tokens))
        scale, bias = self.scale_bias(m)
        losses = {"clip_loss": ClipLoss()(i, t, scale, bias)}
        if bias is not None:
            losses["siglip_loss"] = SigLipLoss()(i, t, scale, bias)
        return losses

    def loss(self, m, images, tokens):
        return self.losses(m, images, tokens)["siglip_loss" if self.siglip else "clip_loss"]


class HF(OpenCLIP):
    def features(self, m, images, tokens):
        pick = lambda o: o if torch.is_tensor(o) else o.pooler_output
        return pick(m.get_image_features(pixel_values=images)), pick(m.get_text_features(input_ids=tokens))

    def scale_bias(self, m):
        return m.logit_scale.exp(), getattr(m, "logit_bias", None)

    def losses(self, m, images, tokens):
        return {"siglip_loss" if self.siglip else "clip_loss": m(input_ids=tokens, pixel_values=images, return_loss=True).loss}


def no_decay(name, p):  # the older rule of open_clip_train
    return p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name


def adamw(model):
    named = list(model.named_parameters())
    return torch.optim.AdamW([{"params": [p for n, p in named if no_decay(n, p)], "weight_decay": 0.0},
                              {"params": [p for n, p in named if not no_decay(n, p)], "weight_decay": DECAY}], **ADAM)


def array(x):
    return x.detach().numpy().copy()


def watch(model, modules):
    got, handles = {}, []
    named = dict(model.named_modules())
    for name in modules:
        def keep(module, args, out, name=name):
            got.setdefault(name, array(out[0] if isinstance(out, tuple) else out))
        handles.append(named[name].register_forward_hook(keep))
    return got, handles


def produce(model, driver, images, tokens, modules, dtype):
    m, images = copy.deepcopy(model).to(dtype).eval(), images.to(dtype)
    got, handles = watch(m, modules)
    i, t = driver.features(m, images, tokens)
    for h in handles:
        h.remove()
    ni, nt = F.normalize(i, dim=-1), F.normalize(t, dim=-1)
    scale, bias = driver.scale_bias(m)
    logits = scale * ni @ nt.T + (0 if bias is None else bias)
    out = dict(image_features=array(i), text_features=array(t), image_features_norm=array(ni), text_features_norm=array(nt),
               logits_per_image=array(logits), logits_per_text=array(logits.T), logit_scale_exp=array(scale))
    out.update({k: array(v) for k, v in driver.losses(m, images, tokens).items()})
    out["loss"] = array(driver.loss(m, images, tokens))
    m.train()
    optimiser, losses, grads = adamw(m), [], {}
    for k in range(4):
        if k == 3:
            out.update({"after3/" + n: array(v) for n, v in m.state_dict().items()})
        optimiser.zero_grad()
        loss = driver.loss(m, images, tokens)
        loss.backward()
        losses.append(loss.item())
        if k == 0:
            grads = {n: array(p.grad if p.grad is not None else torch.zeros_like(p)) for n, p in m.named_parameters()}
        optimiser.step()
        with torch.no_grad():
            m.logit_scale.clamp_(0, math.log(100))
    out["train_losses"] = np.array(losses)
    return out, grads, got


def save_golden(d, model, driver, images, tokens, modules):
    o32, g32, i32 = produce(model, driver, images, tokens, modules, torch.float32)
    o64, g64, _ = produce(model, driver, images, tokens, modules, torch.float64)
    for name, arrays in dict(inputs=dict(images=images.numpy(), tokens=tokens.numpy()), outputs_f64=o64, grads=g32, intermediates=i32).items():
        np.savez_compressed(d / f"{name}.npz", **arrays)
    relative = lambda a, b: float(np.abs(a.astype(np.float64) - b).max() / (np.abs(b).max() + 1e-30))
    dump(d / "grad_norms.json", {n: float(np.sqrt((g64[n] ** 2).sum())) for n in g64})
    dump(d / "no_decay.json", [n for n, p in model.named_parameters() if no_decay(n, p)])
    noise = {k: relative(o32[k], o64[k]) for k in o32 if not k.startswith("after3/")}
    noise["grads_worst"] = max(relative(g32[n], g64[n]) for n in g64 if np.abs(g64[n]).max() > 1e-9)
    dump(d / "f32_noise.json", {"relative_f32_vs_f64": noise, "after3_max_abs_diff_f32_vs_f64":
         {k: float(np.abs(o32[k].astype(np.float64) - o64[k]).max()) for k in o32 if k.startswith("after3/")}})
    closest = [float((x @ x.T - 2 * np.eye(BATCH)).max()) for x in (o64["image_features_norm"], o64["text_features_norm"])]
    assert max(closest) < 0.99, (d.name, "features do not tell the inputs apart", closest)
    print(f"{d.name}: {sum(p.numel() for p in model.parameters())} parameters, loss {float(o32['loss']):.4f}, "
          f"closest images {closest[0]:.2f}, texts {closest[1]:.2f}")


TEXT = dict(context_length=CONTEXT, vocab_size=VOCAB, width=16, heads=2, layers=2)
VIT = dict(image_size=16, layers=2, width=16, patch_size=4, head_width=8)
SIGLIP_TEXT = dict(TEXT, no_causal_mask=True, proj_bias=True, pool_type="last", norm_kwargs=dict(eps=1e-6))
TIMM = dict(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2)


def timm(name, pool="map", **cfg):
    return dict(image_size=16, timm_model_name=name, timm_model_pretrained=False, timm_pool=pool, **{"timm_proj": "none", **cfg})


def blocks(prefix, n=2):
    return [f"{prefix}.{i}" for i in range(n)]


NATIVE = ["visual.conv1", "visual.ln_pre", *blocks("visual.transformer.resblocks"), "visual.ln_post", *blocks("transformer.resblocks"), "ln_final"]
RESNET = ["visual.conv1", "visual.avgpool", *[f"visual.layer{i}" for i in (1, 2, 3, 4)], "visual.attnpool", *blocks("transformer.resblocks"), "ln_final"]
TIMM_MAP = ["visual.trunk.patch_embed", *blocks("visual.trunk.blocks"), "visual.trunk.norm", "visual.trunk.attn_pool",
            *blocks("text.transformer.resblocks"), "text.ln_final"]
TEXT_PREFIX = ["text.ln_final" if m == "ln_final" else "text." + m if m.startswith("transformer") else m for m in NATIVE if m != "visual.ln_pre"]

# name: (class, model_cfg, siglip loss, kind of tokens, modules to watch, factor for matrices)
OPEN_CLIP = {
    "vit_gelu": (CLIP, dict(embed_dim=8, vision_cfg=VIT, text_cfg=TEXT), False, "argmax", NATIVE, 2),
    "vit_quickgelu": (CLIP, dict(embed_dim=8, quick_gelu=True, vision_cfg=VIT, text_cfg=TEXT), False, "argmax", NATIVE, 2),
    "vit_fields": (CLIP, dict(embed_dim=12, init_logit_scale=2.0, nonscalar_logit_scale=True,
                   vision_cfg=dict(VIT, image_size=18, mlp_ratio=2.6, pool_type="avg", final_ln_after_pool=True, norm_kwargs=dict(eps=1e-4),
                                   act_kwargs=dict(approximate="tanh")),
                   text_cfg=dict(TEXT, mlp_ratio=3.0, heads=4, pool_type="eos", eos_id=5, proj_bias=True, norm_kwargs=dict(eps=1e-3))),
                   False, "eos", NATIVE, 3),
    "rn": (CLIP, dict(embed_dim=8, vision_cfg=dict(image_size=64, layers=[1, 2, 1, 1], width=4, patch_size=None, head_width=32), text_cfg=TEXT),
           False, "argmax", RESNET, 2),
    "siglip_native": (CustomTextCLIP, dict(embed_dim=16, init_logit_bias=-10, custom_text=True,
                      vision_cfg=dict(VIT, pool_type="avg", no_ln_pre=True), text_cfg=SIGLIP_TEXT), True, "siglip", TEXT_PREFIX, 2),
    "siglip_timm": (CustomTextCLIP, dict(embed_dim=16, init_logit_bias=-10, custom_text=True, vision_cfg=timm("vit_base_patch16_siglip_224"),
                    text_cfg=SIGLIP_TEXT), True, "siglip", TIMM_MAP, 4),
    "siglip2_timm": (CustomTextCLIP, dict(embed_dim=16, init_logit_bias=-10, custom_text=True, vision_cfg=timm("vit_so400m_patch16_siglip_256"),
                     text_cfg=dict(SIGLIP_TEXT, act_kwargs=dict(approximate="tanh"))), True, "siglip", TIMM_MAP, 4),
    "siglip_gap": (CustomTextCLIP, dict(embed_dim=12, custom_text=True, vision_cfg=timm("vit_base_patch16_siglip_gap_224", "avg", timm_proj="linear"),
                   text_cfg=TEXT), False, "argmax", [m for m in TIMM_MAP if "pool" not in m], 4),
}

HF_CLIP = ["vision_model.pre_layrnorm", *blocks("vision_model.encoder.layers"), "vision_model.post_layernorm",
           *blocks("text_model.encoder.layers"), "text_model.final_layer_norm"]
HF_SIGLIP = [*blocks("vision_model.encoder.layers"), "vision_model.post_layernorm", "vision_model.head", *blocks("text_model.encoder.layers"),
             "text_model.final_layer_norm"]
HF_TEXT = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=CONTEXT,
               bos_token_id=VOCAB - 2, eos_token_id=VOCAB - 1, pad_token_id=VOCAB - 1)
HF_VISION = dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, image_size=16, patch_size=4)

# name: (model, siglip, kind of tokens, modules to watch, factor)
HUGGING_FACE = {
    "hf_clip": (lambda: CLIPModel(CLIPConfig(projection_dim=12, text_config=HF_TEXT, vision_config=HF_VISION)), False, "pad_with_end", HF_CLIP, 6),
    "hf_clip_gelu": (lambda: CLIPModel(CLIPConfig(projection_dim=12, text_config=dict(HF_TEXT, hidden_act="gelu", eos_token_id=2, layer_norm_eps=1e-4),
                     vision_config=dict(HF_VISION, hidden_act="gelu_pytorch_tanh"))), False, "argmax", HF_CLIP, 6),
    "hf_siglip": (lambda: SiglipModel(SiglipConfig(text_config=HF_TEXT, vision_config=dict(HF_VISION, image_size=18))), True, "siglip", HF_SIGLIP, 4),
}


def make_open_clip(out, name, index):
    cls, cfg, siglip, kind, modules, factor = OPEN_CLIP[name]
    real = open_clip_timm.timm.create_model
    open_clip_timm.timm.create_model = lambda n, *a, **k: real(n, *a, **dict(k, **TIMM))
    torch.manual_seed(100 + index)
    model = cls(**{k: copy.deepcopy(v) for k, v in cfg.items() if k != "custom_text"})
    open_clip_timm.timm.create_model = real
    perturb(model, 200 + index, factor)
    if name == "rn":
        calibrate(model, cfg["vision_cfg"]["image_size"], 900)
    d = out / name
    d.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, d / "open_clip_model.safetensors")
    preprocess = dict(mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="squash") if siglip else \
        dict(mean=list(CLIP_MEAN), std=list(CLIP_STD), interpolation="bicubic", resize_mode="shortest")
    dump(d / "open_clip_config.json", dict(model_cfg=cfg, preprocess_cfg=preprocess))
    if "timm_model_name" in cfg["vision_cfg"]:
        dump(d / "timm_overrides.json", dict(TIMM, note="passed to timm.create_model on top of the named architecture"))
    save_golden(d, model, OpenCLIP(siglip), make_images(cfg["vision_cfg"]["image_size"], 300 + index), make_tokens(kind, 400 + index), modules)


def make_hugging_face(out, name, index):
    make, siglip, kind, modules, factor = HUGGING_FACE[name]
    torch.manual_seed(500 + index)
    model = make()
    perturb(model, 600 + index, factor)
    if siglip:
        with torch.no_grad():
            model.logit_scale.fill_(math.log(10)), model.logit_bias.fill_(-10)
    d = out / name
    d.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(d)
    size = model.config.vision_config.image_size
    save_golden(d, model, HF(siglip), make_images(size, 700 + index), make_tokens(kind, 800 + index), modules)


def main():
    out, names = Path(sys.argv[1]), sys.argv[2:]
    for make, table in ((make_open_clip, OPEN_CLIP), (make_hugging_face, HUGGING_FACE)):
        for index, name in enumerate(table):
            if not names or name in names:
                make(out, name, index)


if __name__ == "__main__":
    main()
