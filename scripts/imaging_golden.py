#!/usr/bin/env python3
"""Writes imaging/testdata/pillow: small files of every kind and what Pillow makes of them.

    python scripts/imaging_golden.py imaging/testdata/pillow

Needs Pillow and NumPy, and libjpeg-turbo's cjpeg and jpegtran for the JPEG variants that Pillow does not write. Each
NAME.npz beside a file holds `mode` (Pillow's, as bytes), `pixels` (np.asarray of the decoded picture), `rgb` (its
convert("RGB")) and, for some, `upright` (ImageOps.exif_transpose then convert("RGB")). resize.npz holds resampled arrays.
"""
import io, subprocess, sys, tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

OUT = Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)


def picture(w, h, seed):
    """Smooth gradients, hard edges and noise."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([255 * x / max(w - 1, 1), 255 * y / max(h - 1, 1), 127 + 127 * np.sin(x / 7 + y / 11)], -1)
    im = Image.fromarray(np.clip(a + r.normal(0, 6, a.shape), 0, 255).astype(np.uint8))
    dr = ImageDraw.Draw(im)
    for _ in range(6):
        x0, x1 = sorted(r.integers(0, w, 2).tolist())
        y0, y1 = sorted(r.integers(0, h, 2).tolist())
        dr.ellipse([x0, y0, x1, y1], fill=tuple(r.integers(0, 256, 3).tolist()))
    return im


def ramp(w, h):
    return Image.fromarray(np.tile(np.linspace(0, 255, w).astype(np.uint8), (h, 1)))


def keep(name, upright=False):
    im = Image.open(OUT / name)
    im.load()
    arrays = dict(mode=np.frombuffer(im.mode.encode(), np.uint8), rgb=np.asarray(im.convert("RGB")))
    pixels = np.asarray(im)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(np.int32)
    if pixels.shape != arrays["rgb"].shape or (pixels != arrays["rgb"]).any():
        arrays["pixels"] = pixels
    if im.mode in ("LA", "RGBA", "PA") or "transparency" in im.info:
        rgba = im.convert("RGBA")
        white = Image.new("RGBA", im.size, (255, 255, 255, 255))
        white.alpha_composite(rgba)
        arrays["white"] = np.asarray(white.convert("RGB"))
    if upright:
        arrays["upright"] = np.asarray(ImageOps.exif_transpose(Image.open(OUT / name)).convert("RGB"))
    np.savez_compressed(OUT / (name + ".npz"), **arrays)


def save(name, im, upright=False, **kw):
    im.save(OUT / name, **kw)
    keep(name, upright)


def cjpeg(name, im, *args):
    ppm = io.BytesIO()
    im.save(ppm, "ppm")
    (OUT / name).write_bytes(subprocess.run(["cjpeg", *args], input=ppm.getvalue(), stdout=subprocess.PIPE, check=True).stdout)
    keep(name)


def jpegs():
    im = picture(61, 43, 1)
    save("jpeg_420.jpg", im, quality=85)
    save("jpeg_422.jpg", im, quality=85, subsampling=1)
    save("jpeg_444.jpg", im, quality=95, subsampling=0)
    save("jpeg_low_quality.jpg", im, quality=3)
    save("jpeg_full_quality.jpg", im, quality=100, subsampling=0)
    save("jpeg_optimised.jpg", im, quality=75, optimize=True)
    save("jpeg_progressive.jpg", im, quality=80, progressive=True)
    save("jpeg_progressive_444.jpg", im, quality=92, progressive=True, subsampling=0)
    save("jpeg_gray.jpg", im.convert("L"), quality=90)
    save("jpeg_gray_progressive.jpg", im.convert("L"), quality=90, progressive=True)
    save("jpeg_cmyk.jpg", im.convert("CMYK"), quality=92)
    save("jpeg_rgb.jpg", im, quality=90, keep_rgb=True)
    save("jpeg_restart_blocks.jpg", im, quality=80, restart_marker_blocks=3)
    for w, h in ((1, 1), (2, 3), (3, 2), (4, 5), (5, 4), (17, 1), (1, 17), (16, 16), (33, 47)):
        save(f"jpeg_420_{w}x{h}.jpg", picture(w, h, 2), quality=80)
    cjpeg("jpeg_440.jpg", im, "-sample", "1x2", "-quality", "85")
    cjpeg("jpeg_411.jpg", im, "-sample", "4x1", "-quality", "85")
    cjpeg("jpeg_410.jpg", im, "-sample", "4x2", "-quality", "85")
    cjpeg("jpeg_chroma_larger.jpg", im, "-sample", "1x1,2x2,2x2", "-quality", "85")
    cjpeg("jpeg_restart_rows.jpg", im, "-restart", "1", "-quality", "85")
    cjpeg("jpeg_progressive_restart.jpg", im, "-progressive", "-restart", "1", "-quality", "85")
    with tempfile.NamedTemporaryFile("w") as scans:
        scans.write("0;\n1;\n2;\n")
        scans.flush()
        cjpeg("jpeg_three_scans.jpg", im, "-scans", scans.name, "-quality", "85")
    # YCCK: Pillow writes CMYK with Adobe's marker and transform 0; transform 2 says that the first three are YCC.
    data = bytearray((OUT / "jpeg_cmyk.jpg").read_bytes())
    at = data.index(b"Adobe")
    data[at + 11] = 2
    (OUT / "jpeg_ycck.jpg").write_bytes(data)
    keep("jpeg_ycck.jpg")
    for k in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = k
        save(f"jpeg_orientation_{k}.jpg", picture(24, 16, 3), upright=True, quality=90, exif=exif)


def pngs():
    im = picture(47, 31, 4)
    save("png_rgb.png", im)
    save("png_gray.png", im.convert("L"))
    la = im.convert("LA")
    la.putalpha(ramp(47, 31))
    save("png_gray_alpha.png", la)
    rgba = im.convert("RGBA")
    rgba.putalpha(ramp(47, 31))
    save("png_rgba.png", rgba)
    for bits in (1, 2, 4, 8):
        save(f"png_palette_{bits}.png", im.quantize(2**bits), bits=bits)
    save("png_palette_transparent.png", im.quantize(16), transparency=3)
    save("png_palette_alphas.png", im.quantize(16), transparency=bytes(range(0, 160, 10)))
    save("png_gray_transparent.png", im.convert("L").point(lambda v: v & 0xF0), transparency=0x80)
    save("png_rgb_transparent.png", im.point(lambda v: v & 0xC0), transparency=(0xC0, 0x40, 0x80))
    save("png_bilevel.png", im.convert("1"))
    g16 = (np.asarray(im.convert("L")).astype(np.float64) * 1.2).astype(np.uint16)
    save("png_gray16.png", Image.fromarray(g16))
    raw = np.asarray(rgba).astype(np.uint16) * 257 ^ 0x31
    hand("png_rgb16.png", 16, 2, raw[..., :3].astype(">u2"))
    hand("png_rgba16.png", 16, 6, raw.astype(">u2"))
    hand("png_gray_alpha16.png", 16, 4, raw[..., 2:].astype(">u2"))
    l2 = np.asarray(im.convert("L"))
    hand("png_gray_2.png", 2, 0, pack(l2 >> 6, 2))
    hand("png_gray_4.png", 4, 0, pack(l2 >> 4, 4))
    interlaced("png_interlaced.png", im)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("png_orientation_6.png", im, upright=True, exif=exif)


def pack(a, bits):
    per = 8 // bits
    w = -(-a.shape[1] // per) * per
    b = np.zeros((a.shape[0], w), np.uint8)
    b[:, :a.shape[1]] = a
    out = np.zeros((a.shape[0], w // per), np.uint8)
    for i in range(per):
        out |= b[:, i::per] << (8 - bits * (i + 1))
    return out, a.shape[1]


def chunk(kind, body):
    import struct, zlib
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(w, h, bits, colour, interlace, raw):
    import struct, zlib
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, interlace))
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def hand(name, bits, colour, a):
    """A PNG that Pillow does not write, filter 0 in every row."""
    a, w = a if isinstance(a, tuple) else (a, a.shape[1])
    rows = b"".join(b"\0" + a[y].tobytes() for y in range(a.shape[0]))
    (OUT / name).write_bytes(png_file(w, a.shape[0], bits, colour, 0, rows))
    keep(name)


def interlaced(name, im):
    a = np.asarray(im)
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        part = a[y0::dy, x0::dx]
        raw += b"".join(b"\0" + part[y].tobytes() for y in range(part.shape[0]))
    (OUT / name).write_bytes(png_file(a.shape[1], a.shape[0], 8, 2, 1, raw))
    keep(name)


def others():
    im = picture(45, 37, 5)
    rgba = im.convert("RGBA")
    rgba.putalpha(ramp(45, 37))
    save("webp_lossy.webp", im, quality=80)
    save("webp_lossy_low.webp", im, quality=10)
    save("webp_lossy_alpha.webp", rgba, quality=80)
    save("webp_lossless.webp", im, lossless=True)
    save("webp_lossless_alpha.webp", rgba, lossless=True, exact=True)
    for w, h in ((1, 1), (2, 2), (3, 5), (16, 16), (17, 33)):
        save(f"webp_lossy_{w}x{h}.webp", picture(w, h, 6), quality=75)
    save("webp_animated.webp", im, save_all=True, append_images=[picture(45, 37, 7)], duration=100, lossless=True)
    save("webp_animated_lossy.webp", rgba, save_all=True, append_images=[picture(45, 37, 7).convert("RGBA")], duration=100, quality=70)
    exif = Image.Exif()
    exif[0x0112] = 8
    save("webp_orientation_8.webp", im, upright=True, exif=exif, quality=90)

    save("gif_plain.gif", im.quantize(32))
    save("gif_gray.gif", im.convert("L"))
    save("gif_transparent.gif", im.quantize(16), transparency=5)
    save("gif_animated.gif", im.quantize(16), save_all=True, append_images=[picture(45, 37, 8).quantize(16)], duration=100)
    save("gif_interlaced.gif", im.quantize(16), interlace=1)

    save("bmp_rgb.bmp", im)
    save("bmp_gray.bmp", im.convert("L"))
    save("bmp_palette.bmp", im.quantize(200))
    save("bmp_bilevel.bmp", im.convert("1"))
    save("bmp_rgba.bmp", rgba)

    save("tiff_rgb.tiff", im)
    for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        save(f"tiff_rgb_{c}.tiff", im, compression=c)
    save("tiff_gray.tiff", im.convert("L"))
    save("tiff_rgba.tiff", rgba, compression="tiff_lzw")
    save("tiff_palette.tiff", im.quantize(64))
    save("tiff_bilevel.tiff", im.convert("1"))
    save("tiff_bilevel_g4.tiff", im.convert("1"), compression="group4")
    save("tiff_cmyk.tiff", im.convert("CMYK"))
    g16 = (np.asarray(im.convert("L")).astype(np.float64) * 1.3).astype(np.uint16)
    save("tiff_gray16.tiff", Image.fromarray(g16))
    save("tiff_orientation_6.tiff", im, tiffinfo={274: 6})


def resampled():
    """Arrays of one seed resized to many sizes, and with a box."""
    out = {}
    filters = dict(nearest=0, lanczos=1, bilinear=2, bicubic=3, box=4, hamming=5)
    im = picture(53, 41, 9)
    gray16 = Image.fromarray((np.random.default_rng(10).integers(0, 65536, (41, 53))).astype(np.uint16))
    sources = dict(L=im.convert("L"), RGB=im, CMYK=im.convert("CMYK"), I16=gray16)
    for mode in ("LA", "RGBA"):
        a = im.convert(mode)
        a.putalpha(ramp(53, 41))
        sources[mode] = a
    for mode, src in sources.items():
        a = np.asarray(src)
        out[f"{mode}/source"] = a.astype(np.int32) if a.dtype == np.uint16 else a
        for fname, f in filters.items():
            for w, h in ((20, 10), (53, 17), (19, 41), (101, 90), (1, 1), (53, 41)):
                if mode != "RGB" and (w, h) not in ((20, 10), (101, 90)):
                    continue
                b = np.asarray(src.resize((w, h), f))
                out[f"{mode}/{fname}/{w}x{h}"] = b.astype(np.int32) if b.dtype == np.uint16 else b
    for k, box in enumerate(((3, 5, 40, 33), (0, 0, 53, 20), (10, 11, 18, 17))):
        out[f"RGB/crop/{k}"] = np.asarray(im.crop(box).resize((24, 24), 3))
        out[f"RGB/crop/{k}/box"] = np.array(box, np.int32)
    np.savez_compressed(OUT / "resize.npz", **out)


def enhanced():
    """What Pillow's ImageEnhance makes of a picture, which torchvision's colour jitter calls."""
    im = picture(37, 29, 11)
    out = dict(source=np.asarray(im))
    for f in (0.0, 0.4, 0.9, 1.3, 1.9):
        out[f"brightness/{f}"] = np.asarray(ImageEnhance.Brightness(im).enhance(f))
        out[f"contrast/{f}"] = np.asarray(ImageEnhance.Contrast(im).enhance(f))
        out[f"saturation/{f}"] = np.asarray(ImageEnhance.Color(im).enhance(f))
    for f in (-0.4, -0.1, 0.05, 0.3):
        h, s, v = im.convert("HSV").split()
        h = Image.fromarray(np.asarray(h) + np.array(f * 255).astype(np.int32).astype(np.uint8))
        out[f"hue/{f}"] = np.asarray(Image.merge("HSV", (h, s, v)).convert("RGB"))
    out["grey"] = np.asarray(im.convert("L"))
    np.savez_compressed(OUT / "enhance.npz", **out)


jpegs()
pngs()
others()
resampled()
enhanced()
print(f"{len(list(OUT.iterdir()))} files, {sum(f.stat().st_size for f in OUT.iterdir()) / 1e6:.2f} MB")
