"""Damage and hostility, drawn from a seed: bytes, tables, YAML, and the insides of containers."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40)

CELLS = (
    "", " ", "-1", "0", "1", "2", "411", "058Y", "058Z", "1e308", "-1e309", "nan", "NaN", "inf", "None",
    "null", "NA", "U", "O", "X", "male", "F ", "\x00", '"', "'", ",", ";", "\t", "\ufeff", "\u202e", "é",
    "٣", "1_000", "0x10", "1.5", "true", "a" * 5000, "9" * 400, "../../secret/canary.png",
    "..\\..\\secret\\canary.png", "/etc/passwd", "secret", "file:///etc/passwd", "C:\\x", ".", "..", "/",
    "=1+1", "%s%n", "{0}", "[]", "[1, 2", "{}", "\\", "images", "a.png/b", "2020-01-01", "1;2",
    "Pneumonia|No Finding", "|", "train", "Lung Opacity", "99999999999999999999", "-0.0", "con",
)  # fmt: skip
"""What tables of the world hold where a number, a sex, an age, a name or a path should be."""

YAML = (
    "&a [*a]", "*unknown", "!!python/object/apply:os.system ['echo']", "!!python/name:os.system",
    "!!binary '#'", "!!set {a, b}", "!!timestamp 9999-99-99", "2020-13-45", "0o8", "1:99:99", "1e999",
    ".nan", "{}", "[]", "~", "? x", "- - - -", "[" * 3000, "{a: " * 1000, "<<: 1", "'", '"\\x', "\t",
    "%YAML 9.9", "---", "...", "|", ">-", "@", "`", "../x", "/x", "a\\b", "c:x", "-1", "1e3", "9" * 5000,
    "\x00", "\u2028", "yes", "0" * 64, "{[1, 2]: 3}", "!!int a",
)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def _position(content: bytes, rng: random.Random) -> int:
    """Anywhere, or as often near the beginning, where headers are."""
    n = len(content)
    return rng.randrange(n if rng.random() < 0.5 else min(n, 512)) if n else 0


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 16) if content else 0):
        changed[_position(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def number(content: bytes, rng: random.Random) -> bytes:
    """Overwrite with a number that breaks sizes, counts and offsets."""
    code, order = rng.choice("BHIQ"), rng.choice("<>")
    value = rng.choice(INTERESTING) & ((1 << 8 * struct.calcsize(code)) - 1)
    packed, at = struct.pack(order + code, value), _position(content, rng)
    return content[:at] + packed + content[at + len(packed) :]


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = _position(content, rng)
    return start, start + rng.choice((1, 2, 4, 16, 64, 512, 4096))


def delete(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + content[end:]


def duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 2, 100)) + content[end:]


def fill(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    end = min(end, len(content))
    return content[:start] + rng.choice((b"\x00", b"\xff", b" ", b"9")) * (end - start) + content[end:]


def insert(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + rng.randbytes(rng.choice((1, 3, 8, 100, 5000))) + content[at:]


def move(content: bytes, rng: random.Random) -> bytes:
    (start, end), to = _block(content, rng), _position(content, rng)
    rest = content[:start] + content[end:]
    return rest[:to] + content[start:end] + rest[to:]


FILES = (
    b"",
    b"\x00" * 1000,
    b"<!DOCTYPE html><html>log in</html>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"PK\x05\x06" + bytes(18),
    b"\x1f\x8b\x08",
    b"\x93NUMPY\x01\x00",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"DICM",
    b"GIF89a",
    b"II*\x00" + bytes(100),
)
"""Other files altogether, or their beginnings."""


BYTES: tuple[Mutation, ...] = (
    truncate,
    flip,
    flip,
    number,
    number,
    number,
    delete,
    duplicate,
    fill,
    insert,
    move,
)


def damage(content: bytes, rng: random.Random) -> bytes:
    """One to four mutations of bytes, one after the other; now and then another file."""
    if rng.random() < 0.02:
        return rng.choice((*FILES, rng.randbytes(2000)))
    for _ in range(rng.randint(1, 4)):
        content = rng.choice(BYTES)(content, rng)
    return content


def damage_png(content: bytes, rng: random.Random) -> bytes:
    """Mutate one chunk, or the pixels inside the compressed ones, and make its checksum right again."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    i = rng.randrange(len(chunks))
    kind, body = chunks[i]
    if kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(damage(zlib.decompress(body), rng))
    elif rng.random() < 0.1:
        kind = rng.choice((b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"IEND", b"eXIf"))
    else:
        body = damage(body, rng)
    chunks[i] = kind, body
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return content[:8] + b"".join(packed)


def damage_gzip(content: bytes, rng: random.Random, inside: Mutation = damage) -> bytes:
    return gzip.compress(inside(gzip.decompress(content), rng), 1)


def damage_zip(content: bytes, rng: random.Random) -> bytes:
    """Mutate a member, its name or its kind, and pack it again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    chosen = rng.randrange(len(members))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", rng.choice((0, 8, 12, 14))) as archive:
        for i, (member, body) in enumerate(members):
            name, attributes = member.filename, member.external_attr
            if i == chosen:
                match rng.randrange(5):
                    case 0:
                        name = rng.choice(
                            ("../" + name, "/" + name, name.upper(), "C:" + name, name + "/", "x")
                        )
                    case 1:
                        attributes = rng.choice((0o120777, 0o020666, 0o010666, 0o040755)) << 16
                    case _:
                        body = damage(body, rng)
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = attributes, 3
            archive.writestr(info, body)
    return buffer.getvalue()


def damage_table(content: bytes, rng: random.Random, separator: str = ",") -> bytes:
    """Break a delimited table as people, spreadsheets and other programs do."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=separator))
    line, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    for _ in range(rng.randint(1, 3)):
        match rng.randrange(10):
            case 0:
                rows = [row[:column] + row[column + 1 :] for row in rows]
            case 1:
                rows = [[*row, row[column] if column < len(row) else ""] for row in rows]
            case 2:
                rows.append(list(rows[line]))  # the same identifier twice, or a second header
            case 3:
                rows[line] = rows[line][: rng.randrange(len(rows[line]) + 1)]
            case 4:
                del rows[line]
            case 5:
                rng.shuffle(rows)
            case _:
                if column < len(rows[line]):
                    rows[line][column] = rng.choice(CELLS)
        if not rows or not rows[0]:
            return b""
        line, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    written = separator if rng.random() < 0.9 else rng.choice(";\t|, ")
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(buffer := io.StringIO(), delimiter=written, quoting=quoting).writerows(rows)
    text = buffer.getvalue()
    if rng.random() < 0.2:
        text = rng.choice(
            ("\ufeff" + text, text.replace("\r\n", "\r"), text + '"', text.replace("\r\n", "\n\n"))
        )
    encoding = "utf-8" if rng.random() < 0.9 else rng.choice(("utf-16", "latin-1", "utf-8-sig", "utf-32"))
    return text.encode(encoding, "replace")


def damage_text(content: bytes, rng: random.Random, tokens: tuple[str, ...] = YAML) -> bytes:
    """Replace, repeat or delete lines, keys and values of a text."""
    lines = content.decode().split("\n")
    for _ in range(rng.randint(1, 4)):
        i, token = rng.randrange(len(lines)), rng.choice(tokens)
        key, mark, value = lines[i].partition(":" if ":" in lines[i] else "=")
        match rng.randrange(7):
            case 0:
                lines[i] = token
            case 1:
                lines[i] = f"{key}{mark} {token}"
            case 2:
                lines[i] = f"{token}{mark}{value}"
            case 3:
                lines.insert(i, lines[rng.randrange(len(lines))])
            case 4:
                lines[i] = rng.choice(("", " ", "\t")) + lines[i].strip()
            case 5:
                lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
            case _:
                del lines[i]
                lines = lines or [""]
    return "\n".join(lines).encode(errors="replace")
