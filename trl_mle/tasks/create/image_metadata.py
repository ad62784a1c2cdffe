"""Images without what is not picture: EXIF, XMP, comments, times. Pixels stay as they are, because nothing is encoded again.

Formats: JPEG (ITU-T T.81, annex B), PNG (W3C PNG, section 11), GIF89a, WebP (RFC 9649). BMP has no metadata. Tags of TIFF stay.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_JPEG_KEPT = frozenset((0xE0, 0xE2, 0xEE))
"""Application segments that decoders need: JFIF, colour profile, Adobe's colour transform."""
_PNG_KEPT = frozenset((b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"acTL", b"fcTL", b"fdAT"))
_PNG_START = b"\x89PNG\r\n\x1a\n"


class DamagedImageError(ValueError):
    """A file that is no image, or whose structure is broken."""


def kind_of_image(data: bytes) -> str | None:
    """`jpeg`, `png`, `gif`, `webp`, `bmp` or `tiff` by the first bytes; `None` for anything else."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    starts = {b"\xff\xd8\xff": "jpeg", _PNG_START: "png", b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp"}
    starts |= {b"II*\0": "tiff", b"MM\0*": "tiff"}
    return next((kind for start, kind in starts.items() if data.startswith(start)), None)


def without_metadata(data: bytes) -> bytes:
    """The same picture without metadata, and without what follows its end.

    Raises:
        DamagedImageError: `data` is no image of a known kind, or its structure is broken.
    """
    kind = kind_of_image(data)
    if kind is None:
        raise DamagedImageError("empty" if not data else "no image of a known kind")
    strip = _STRIPPERS.get(kind)
    if strip is None:
        return data
    try:
        return strip(data)
    except (IndexError, struct.error) as error:
        raise DamagedImageError(f"a damaged {kind.upper()} file") from error


def _jpeg(data: bytes) -> bytes:
    out = bytearray(data[:2])
    at = 2
    while True:
        if data[at] != 0xFF:
            raise DamagedImageError("a damaged JPEG file")
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes before a marker
            at += 1
        elif marker == 0xD9:
            return bytes(out + b"\xff\xd9")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            out += data[at : at + 2]
            at += 2
        else:
            end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
            if end > len(data):
                raise DamagedImageError("a JPEG file that is cut")
            if marker == 0xDA:
                end = _end_of_scan(data, end)
            if marker != 0xFE and (not 0xE0 <= marker <= 0xEF or marker in _JPEG_KEPT):
                out += data[at:end]
            at = end


def _end_of_scan(data: bytes, at: int) -> int:
    """Position of the marker that ends the coded data from `at` on. In coded data, 0xFF is followed by 0 or a restart marker."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise DamagedImageError("a JPEG file that is cut")
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2


def _png(data: bytes) -> bytes:
    out = bytearray(_PNG_START)
    at = len(_PNG_START)
    while True:
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise DamagedImageError("a PNG file that is cut")
        # A small first letter is an ancillary chunk.
        if not name[0] & 0x20 or name in _PNG_KEPT:
            out += data[at:end]
        if name == b"IEND":
            return bytes(out)
        at = end


def _gif(data: bytes) -> bytes:
    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10])
    out = bytearray(data[:at])
    while True:
        start, kind = at, data[at]
        if kind == 0x3B:
            return bytes(out + b";")
        if kind == 0x2C:
            at = _end_of_blocks(data, at + 11 + table(data[at + 9]))
            kept = True
        elif kind == 0x21:
            label = data[at + 1]
            kept = label == 0xF9 or (label == 0xFF and data[at + 3 : at + 14] == b"NETSCAPE2.0")
            at = _end_of_blocks(data, at + 2)
        else:
            raise DamagedImageError("a damaged GIF file")
        if kept:
            out += data[start:at]


def _end_of_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _webp(data: bytes) -> bytes:
    out = bytearray()
    for name, content in _riff_chunks(data):
        if name in (b"EXIF", b"XMP "):
            continue
        if name == b"VP8X":
            content = bytes((content[0] & ~0x0C, *content[1:]))
        out += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(out)) + b"WEBP" + bytes(out)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data) + 1:
        raise DamagedImageError("a WebP file that is cut")
    while at + 8 <= end:
        (length,) = struct.unpack_from("<I", data, at + 4)
        content = data[at + 8 : at + 8 + length]
        if len(content) < length:
            raise DamagedImageError("a WebP file that is cut")
        yield data[at : at + 4], content
        at += 8 + length + length % 2


_STRIPPERS: dict[str, Callable[[bytes], bytes]] = {"jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp}
