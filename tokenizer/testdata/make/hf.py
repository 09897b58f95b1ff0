"""Writes the small tokenizers under testdata/{siglip,siglip2,...} and what their makers' code makes of some texts.

    python hf.py TESTDATA OPEN_CLIP      (pip: transformers==5.23.0 sentencepiece==0.2.3 protobuf ftfy==6.3.1 regex numpy)

OPEN_CLIP is an unpacked wheel of open_clip_torch 3.3.0; torch is not needed. The vocabularies are trained here, on a few
hundred generated captions: they are of no use but to tests. Layouts are those of timm/ViT-B-16-SigLIP (T5, unigram),
google/siglip-base (spiece.model) and google/siglip2-base (Gemma, byte-pair with byte fallback).
"""

import importlib.util
import json
import pathlib
import random
import shutil
import sys
import types

import sentencepiece as spm
import tokenizers
import transformers

OUT = pathlib.Path(sys.argv[1])
torch = types.ModuleType("torch")
torch.Tensor = torch.LongTensor = object
sys.modules.setdefault("torch", torch)
spec = importlib.util.spec_from_file_location("oc_tokenizer", pathlib.Path(sys.argv[2]) / "open_clip/tokenizer.py")
oc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oc)

TEXTS = json.loads((OUT / "texts.json").read_text())
rng = random.Random(5)
WORDS = (
    """a an the of on in with and photo picture drawing painting close up small large red green blue white black cat dog
bird horse car bus train boat house tree flower street city beach mountain man woman child people person smiling running
sitting standing holding wearing hat shirt ball table chair food pizza cake fruit apple orange banana sunset night day
snow rain sky cloud water river lake it's don't they're café naïve grinning face heart star sun moon""".split()
)
corpus = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 12))) for _ in range(1500)]
corpus += ["A Photo Of The 3 Cats, 12 Dogs!", '(quoted) "text" - 50% off; $5.00', "ﬁne ＷＩＤＥ ½ ① Å é"] * 40


def train(prefix, **kw):
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(prefix),
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **kw,
    )
    pathlib.Path(f"{prefix}.vocab").unlink()


def dump(path, encode):
    """Writes a list of the ids of each of TEXTS."""
    rows = [json.dumps(list(map(int, encode(t))), separators=(",", ":")) for t in TEXTS]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n")


def fresh(name):
    d = OUT / name
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir(parents=True)
    return d


# SigLIP: unigram, nmt_nfkc, no begin token; the pad token is the end token
d = fresh("siglip_spm")
train(
    d / "spiece",
    model_type="unigram",
    vocab_size=400,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    normalization_rule_name="nmt_nfkc",
    user_defined_symbols=["<extra>"],
)
sp = spm.SentencePieceProcessor(model_file=str(d / "spiece.model"))
dump(d / "sentencepiece.json", sp.encode)
dump(d / "open_clip.json", lambda t: sp.encode(oc._clean_canonicalize(t))[:63] + [1])
slow = transformers.models.siglip.tokenization_siglip.SiglipTokenizer(str(d / "spiece.model"))
dump(d / "transformers.json", lambda t: slow(t, max_length=64, truncation=True)["input_ids"])

# The same as open_clip's own repositories have it: a T5 tokenizer.json
proto = transformers.convert_slow_tokenizer.import_protobuf().ModelProto()
proto.ParseFromString((d / "spiece.model").read_bytes())
charsmap = proto.normalizer_spec.precompiled_charsmap
vocab = [(p.piece, p.score) for p in proto.pieces]
# a normalization of a few rules, which is a smaller file
(OUT / "rules.tsv").write_text(
    "C4\t61 65\nE9\t65\n65 301\t65\nFB01\t66 69\n3000\t20\nA0\t20\n9\t20\nA\t20\nFF57\t77\n2460\t31\n200B\t\n"
)
train(OUT / "few", model_type="unigram", vocab_size=150, normalization_rule_tsv=str(OUT / "rules.tsv"))
proto.ParseFromString((OUT / "few.model").read_bytes())
few = proto.normalizer_spec.precompiled_charsmap
for temporary in ["rules.tsv", "few.model"]:
    (OUT / temporary).unlink()


def t5(name, normalizer, pre):
    d = fresh(name)
    tok = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=2, byte_fallback=False))
    tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    tok.decoder = tokenizers.decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tok.post_processor = tokenizers.processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tok, eos_token="</s>", unk_token="<unk>", pad_token="</s>", model_max_length=64
    )
    fast.save_pretrained(d)
    dump(d / "transformers.json", lambda t: fast(t, max_length=64, truncation=True)["input_ids"])
    dump(d / "open_clip.json", lambda t: fast(oc._clean_canonicalize(t), max_length=64, truncation=True)["input_ids"])
    (d / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": {
                    "embed_dim": 48,
                    "text_cfg": {
                        "context_length": 64,
                        "vocab_size": len(vocab),
                        "hf_tokenizer_name": "example/siglip",
                        "tokenizer_kwargs": {"clean": "canonicalize"},
                    },
                }
            },
            indent=1,
        )
        + "\n"
    )


N, P = tokenizers.normalizers, tokenizers.pre_tokenizers
meta = P.Metaspace(replacement="▁", prepend_scheme="always", split=True)
t5("siglip_t5", N.Precompiled(charsmap), P.Sequence([P.WhitespaceSplit(), meta]))
t5(
    "siglip_t5_later",
    N.Sequence([N.Precompiled(few), N.Strip(left=False, right=True), N.Replace(tokenizers.Regex(" {2,}"), "▁")]),
    meta,
)

# SigLIP 2: Gemma's byte-pair with byte fallback
d = fresh("siglip2_spm")
train(
    d / "tokenizer",
    model_type="bpe",
    vocab_size=640,
    pad_id=0,
    eos_id=1,
    bos_id=2,
    unk_id=3,
    eos_piece="<eos>",
    bos_piece="<bos>",
    byte_fallback=True,
    normalization_rule_name="identity",
    add_dummy_prefix=False,
    remove_extra_whitespaces=False,
    allow_whitespace_only_pieces=True,
    split_digits=True,
    user_defined_symbols=["<mask>", "\n", "▁▁"],
)
sp = spm.SentencePieceProcessor(model_file=str(d / "tokenizer.model"))
dump(d / "sentencepiece.json", sp.encode)
proto.ParseFromString((d / "tokenizer.model").read_bytes())
pieces = {p.piece: i for i, p in enumerate(proto.pieces)}
scores = {p.piece: p.score for p in proto.pieces}
merges = []
for piece in pieces:
    local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in pieces and piece[i:] in pieces]
    merges += sorted(((l, r, scores[piece]) for l, r in local), key=lambda m: (pieces[m[0]], pieces[m[1]]))
merges = [(l, r) for l, r, s in sorted(merges, key=lambda m: -m[2])]
d = fresh("siglip2")
tok = tokenizers.Tokenizer(
    tokenizers.models.BPE(vocab=pieces, merges=merges, fuse_unk=True, unk_token="<unk>", byte_fallback=True)
)
tok.normalizer = N.Replace(" ", "▁")
tok.pre_tokenizer = P.Split(" ", behavior="merged_with_previous")
tok.decoder = tokenizers.decoders.Sequence(
    [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
)
tok.post_processor = tokenizers.processors.TemplateProcessing(
    single=["$A", "<eos>"], pair=["$A", "$B", "<eos>"], special_tokens=[("<eos>", 1)]
)
tok.add_tokens(
    [
        tokenizers.AddedToken("\n", normalized=False, special=False),
        tokenizers.AddedToken("▁▁", normalized=False, special=False),
    ]
)
fast = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tok,
    eos_token="<eos>",
    bos_token="<bos>",
    unk_token="<unk>",
    pad_token="<pad>",
    mask_token="<mask>",
    padding_side="right",
    model_max_length=64,
)
fast.save_pretrained(d)
dump(d / "transformers.json", lambda t: fast(t, max_length=64, truncation=True)["input_ids"])

d = fresh("siglip2_lower")  # as transformers' Siglip2Tokenizer writes it
tok.normalizer = N.Sequence([N.Lowercase(), N.Replace(" ", "▁")])
fast = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tok,
    eos_token="<eos>",
    bos_token="<bos>",
    unk_token="<unk>",
    pad_token="<pad>",
    mask_token="<mask>",
    padding_side="right",
    model_max_length=64,
)
fast.save_pretrained(d)
dump(d / "transformers.json", lambda t: fast(t, max_length=64, truncation=True)["input_ids"])

# CLIP in Hugging Face's way, on the shared golden model's tokenizer
d = OUT / "hf_tiny"
fast = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(d / "tokenizer.json"), pad_token="<|endoftext|>", model_max_length=16
)
dump(d / "transformers.json", lambda t: fast(t, max_length=16, truncation=True)["input_ids"])
