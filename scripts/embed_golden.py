"""Two tiny models with what open_clip and transformers answer about a picture: the test data of package embed.

  python scripts/embed_golden.py embed/testdata imaging/testdata/astronaut.jpg tokenizer/testdata/hf_tiny

Weights are random, so that the answers mean nothing, but they are the peers' own, from file and strings to probabilities.
Development only: it needs torch, open_clip_torch, transformers and pillow. Everything is seeded.
"""
import json, shutil, sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

import open_clip
from open_clip.model import CLIP
from transformers import AutoTokenizer, CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
LABELS = ["a diagram", "a dog", "an astronaut", "it's a Rocket, 2024!"]


def perturb(model, seed, factor):
    """Gains and biases off 1 and 0; matrices larger, so that different inputs have different features."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "logit" not in name:
                p.mul_(factor) if p.ndim >= 2 else p.add_(0.05 * torch.randn(p.shape, generator=g))


def record(d, image, text, scale):
    image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image.double(), text.double()))
    logits = scale.double() * image @ text.T
    answers = dict(labels=LABELS, image_features=image[0].tolist(), text_features=text.tolist(), logits=logits[0].tolist(), probabilities=logits.softmax(-1)[0].tolist())
    (d / "expected.json").write_text(json.dumps(answers, indent=1) + "\n")
    print(d.name, [round(p, 6) for p in answers["probabilities"]])


def make_open_clip(d, picture):
    """open_clip's README program. Float16 keeps the file of CLIP's vocabulary small."""
    torch.manual_seed(0)
    config = dict(embed_dim=8, vision_cfg=dict(image_size=64, layers=2, width=16, patch_size=16, head_width=8),
                  text_cfg=dict(context_length=77, vocab_size=49408, width=8, heads=2, layers=2))
    model = CLIP(**config)
    perturb(model, 1, 2)
    preprocess = dict(mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD, interpolation="bicubic", resize_mode="shortest")
    (d / "open_clip_config.json").write_text(json.dumps(dict(model_cfg=config, preprocess_cfg=preprocess), indent=1) + "\n")
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, d / "open_clip_model.safetensors", metadata={"format": "pt"})

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{d}", precision="fp32")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{d}")
    image = transform(Image.open(picture)).unsqueeze(0)
    with torch.no_grad():
        record(d, model.eval().encode_image(image), model.encode_text(tokenizer(LABELS)), model.logit_scale.exp())


def make_hf(d, picture, tokenizer):
    """transformers' zero-shot program."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tokenizer) / name, d / name)
    torch.manual_seed(0)
    text = dict(vocab_size=1514, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=16, eos_token_id=1513,
                bos_token_id=1512, pad_token_id=1513)
    model = CLIPModel(CLIPConfig(projection_dim=12, text_config=text, vision_config=dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                                                                                        image_size=48, patch_size=16)))
    perturb(model, 2, 8)
    model.save_pretrained(d)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})  # torchvision's, the other one, is off Pillow's by 1/255 here and there
    processor.save_pretrained(d)

    model = CLIPModel.from_pretrained(d).eval()
    texts = AutoTokenizer.from_pretrained(d)(LABELS, return_tensors="pt", padding="max_length", max_length=16, truncation=True)
    pixels = processor(images=Image.open(picture), return_tensors="pt").pixel_values
    with torch.no_grad():
        out = model(input_ids=texts.input_ids, pixel_values=pixels)
    record(d, out.image_embeds, out.text_embeds, model.logit_scale.exp().detach())
    assert torch.allclose(out.logits_per_image[0].double(), torch.tensor(json.loads((d / "expected.json").read_text())["logits"], dtype=torch.float64), atol=1e-4)


def main(out, picture, tokenizer):
    for name, make in (("open_clip", make_open_clip), ("hf", lambda d, p: make_hf(d, p, tokenizer))):
        d = Path(out) / name
        d.mkdir(parents=True, exist_ok=True)
        make(d, picture)


main(*sys.argv[1:])
