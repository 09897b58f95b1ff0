"""Generates texts that are hard to clean and to split: mojibake, entities, marks, widths, controls, escapes."""

import random
import unicodedata

import ftfy  # registers the sloppy encodings

WORDS = """a photo of the cat dog sitting on Table red Blue café naïve résumé Ångström Straße œuvre garçon señor Ærø ÎLE
Österreich Łódź żółć čeština ğüş İstanbul Привет мир Украïна ελληνικά Ελλάδα ΟΔΟΣ 日本語 テキスト 한국어 שלום مرحبا नमस्ते ไทย 😀
👨‍👩‍👧 ❤️ it's don't we're I'll 'tis rock'n'roll 2024 3.14 $5 €10 £3 100% <b> </b> <start_of_text> <end_of_text> <|startoftext|>
a.b http://x.y/z?q=1&r=2 #tag @user""".split()
ENCODINGS = """latin-1 cp1252 cp1251 cp1250 cp1253 cp1254 cp1257 iso-8859-2 mac_roman cp437 sloppy-windows-1252
sloppy-windows-1250 sloppy-windows-1251 sloppy-windows-1253 sloppy-windows-1254 sloppy-windows-1257""".split()
ENTITIES = """&amp; &lt; &gt; &quot; &#39; &#x27; &nbsp; &eacute; &EACUTE; &NTILDE; &SZLIG; &hellip; &amp &lt &notit; &not; &copy &#233
&#xe9; &#128; &#x80; &#xD800; &#0; &#1; &#x110000; &#99999999999; &NewLine; &Tab; &acE; &bogus; &#12ab; &#59; &amp;amp; &amp;lt;
&amp;#39; &ampamp; & &; &#; &#x; &zwnj; &ThickSpace; &fjlig; &AMP; &am &a &ngE; &thetasym; &Theta; &THETA;""".split()
CONTROLS = ["\x1b[31m", "\x1b[0m", "\x1b[1;3", "\x1b", "[", "\u0661m", "\x9b", "\r\n", "\r", "\n", "\x0c", "\x0b", "\x1c", "\x1f",
            "\ufeff", "a", "B ", "\u2029", "\x7f", "\u206a", "\ufffc"]
SPECIALS = ["<start_of_text>", "<END_of_text>", "<ſtart_of_text>", "<", "_", "start", "of", "text", ">", "!", "<|startoftext|>",
            "<|ENDOFTEXT|>", "\u0345", "a", "1", "K", "İ", "ı", "ẞ"]
A_GRAVE = ["Ã ", "Ã la", "à", "Ãquele", "Ã s ", "Â ", "a Ã", "Å ", "â ", "ð ", "Î ", " é\xc2", "à ¤"]
STARTERS = list("aeouqΩ가각नऩ\u212b\u0344\u1100\u1161\u11a8\u093c")
MARKS = [chr(c) for c in range(0x300, 0x34F)]
RANGES = [(0, 0x80)] * 6 + [(0x80, 0x250)] * 5 + [(0x250, 0x600), (0x2000, 0x2200), (0x2500, 0x2600), (0xFF00, 0xFFF0), (0x3040, 0x3100),
          (0xFB00, 0xFB07), (0x300, 0x370), (0x1100, 0x1200), (0xAC00, 0xD7A4), (0, 0x10000), (0x10000, 0x20000)]


def some(r, choices, most):
    return "".join(r.choice(choices) for _ in range(r.randint(1, most)))


def words(r, most):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(1, most)))


def characters(r, most):
    return "".join(chr(r.randrange(*r.choice(RANGES))) for _ in range(r.randint(1, most)))


def mojibake(r, text, times=1):
    for _ in range(times):
        text = text.encode("utf-8", "surrogatepass").decode(r.choice(ENCODINGS), r.choice(["replace", "ignore"]))
    return text


def damaged(r):
    text = list(mojibake(r, words(r, 5)))
    for _ in range(2):
        text.insert(r.randrange(len(text) + 1), r.choice("?\ufffd\x1a \n\u2028\x85\r"))
    return "".join(text)


def cesu8(r):
    units = words(r, 3).encode("utf-16-le")
    coded = b"".join(chr(units[i] | units[i + 1] << 8).encode("utf-8", "surrogatepass") for i in range(0, len(units), 2))
    return coded.decode(r.choice(["sloppy-windows-1252", "latin-1", "sloppy-windows-1250"]))


KINDS = [
    lambda r: words(r, 9),
    lambda r: mojibake(r, words(r, 5)),
    lambda r: mojibake(r, words(r, 3), 2),
    lambda r: words(r, 2) + " " + mojibake(r, words(r, 2)) + " " + words(r, 2),
    lambda r: characters(r, 20),
    lambda r: mojibake(r, characters(r, 10)),
    lambda r: mojibake(r, words(r, 5)).replace("\xa0", " "),
    damaged,
    cesu8,
    lambda r: some(r, ENTITIES + WORDS[:8] + [" ", ""], 8),
    lambda r: some(r, [chr(c) for c in range(0x80, 0x180)], 12),
    lambda r: some(r, CONTROLS, 10),
    lambda r: "".join(r.choice(STARTERS) + "".join(r.choices(MARKS, k=r.choice([0, 1, 2, 3, 12, 40]))) for _ in range(r.randint(1, 5))),
    lambda r: some(r, "ΣσςΑα.'´:’·\u00ad^ʰ\u0345aA 1-Άς\u0301\u200d", 12),
    lambda r: some(r, "'’ʼsStTrReEvVmMlLdDſ 'ﬅŉ!\u02bc", 14),
    lambda r: some(r, "ＦＵＬＬ１２３ｶﾞﾀﾊﾟﾆﾈ　￦ﾡﾢￂfullⅫⅷ²½ⓐⒷ①٣४", 12),
    lambda r: some(r, "ÃÂÎÐâ€™œ€šŠ¢£Ÿž\xa0\xad®°©·»¡¿“”‘’–—´ à a.Z", 10),
    lambda r: some(r, "ØÙÚ§†±²³µ¹¼½¾вЂГўВЂВ.Ñ√∂≈°‚Äìóàâ×ā€β€Ά™ΒΓΞΟВГРСx ", 10),
    lambda r: some(r, SPECIALS, 8),
    lambda r: some(r, A_GRAVE, 4),
    lambda r: r.choice(["\n", " ", "x"]).join(r.choice(KINDS)(r) for _ in range(2)),
]


def cases(seed, n, longest=1000):
    """n texts that JSON can hold and that every version of Unicode since 14 agrees on."""
    r = random.Random(seed)
    while n > 0:
        text = r.choice(KINDS)(r)
        if len(text) <= longest and all(unicodedata.category(c) not in ("Cs", "Cn", "Co") for c in text):
            n -= 1
            yield text
