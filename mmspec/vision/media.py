"""Bytes from strangers to an RGB picture, within bounds, or a refusal that gives nothing away."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from PIL import Image, ImageOps
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mmspec.core.errors import BadRequestError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Signature -> decoder. The decoders are called directly: nothing else Pillow knows can be reached,
# and its global (warning) pixel limit gives way to ours.
_SIGNATURES: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
)
_KINDS: dict[type[ImageFile], str] = {
    PngImageFile: "image/png",
    JpegImageFile: "image/jpeg",
    GifImageFile: "image/gif",
    WebPImageFile: "image/webp",
}
# What Pillow's decoders raise on malformed input, by reading them and by fuzzing.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, ZeroDivisionError, NotImplementedError, MemoryError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the pictures of one request; pixels and sides are checked before decoding."""

    max_bytes: int = 20 << 20  # one picture, encoded
    max_pixels: int = 40_000_000  # one picture
    max_side: int = 16_384
    max_images: int = 16
    max_decoded_bytes: int = 256 << 20  # all pictures of a request together, three bytes a pixel


DEFAULT_LIMITS = MediaLimits()


def parse_data_uri(
    url: str, limits: MediaLimits = DEFAULT_LIMITS, param: str | None = None
) -> bytes:
    """The bytes of a ``data:image/...;base64,`` URI.

    Raises:
        BadRequestError: ``invalid_image_url`` for any other scheme (nothing is ever fetched or
            read from disk) or broken base64; ``image_too_large`` past ``limits.max_bytes``.
    """
    head, comma, payload = url.partition(",")
    if head[:5].lower() != "data:" or not comma or not head.lower().endswith(";base64"):
        raise BadRequestError(
            "image URLs must be base64 data: URIs; remote and file URLs are not fetched",
            param,
            "invalid_image_url",
        )
    if len(payload) > (limits.max_bytes + 2) // 3 * 4:
        raise _too_large(f"an image may have up to {limits.max_bytes} bytes", param)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(
            "the image's base64 is malformed", param, "invalid_image_url"
        ) from error


def decode(
    data: bytes, limits: MediaLimits = DEFAULT_LIMITS, param: str | None = None
) -> Image.Image:
    """Decode PNG, JPEG, WebP or the first frame of a GIF into an upright RGB picture.

    Transparency is laid over white, 16-bit grey keeps its high byte, CMYK is converted.

    Raises:
        BadRequestError: ``image_too_large`` by its header or its byte count, or
            ``invalid_image_format`` for anything that does not decode completely.
    """
    if len(data) > limits.max_bytes:
        raise _too_large(f"an image may have up to {limits.max_bytes} bytes", param)
    decoder = _decoder(data)
    try:
        if decoder is None:
            raise SyntaxError("unknown signature")
        image = decoder(io.BytesIO(data))
    except _DECODE_ERRORS as error:
        raise _undecodable(param) from error
    check_size(image.size, limits, param)
    try:
        image.load()
        return to_rgb(image)
    except _DECODE_ERRORS as error:
        raise _undecodable(param) from error


def check_size(size: tuple[int, int], limits: MediaLimits, param: str | None = None) -> None:
    """Refuse sides or areas out of bounds.

    Raises:
        BadRequestError: ``image_too_large``, or ``invalid_image_format`` for an empty picture.
    """
    width, height = size
    if width < 1 or height < 1:
        raise _undecodable(param)
    if max(size) > limits.max_side or width * height > limits.max_pixels:
        raise _too_large(
            f"an image may have up to {limits.max_pixels} pixels and sides of {limits.max_side}",
            param,
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any decoded picture as an upright RGB one: EXIF rotation, alpha over white, 16 to 8 bits."""
    image = _upright(image)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        wide = np.asarray(image)
        grey = Image.fromarray((np.clip(wide, 0, 0xFFFF) >> 8).astype(np.uint8))
        if isinstance(clear := image.info.get("transparency"), int):
            grey.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
        image = grey
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def digest(image: Image.Image) -> str:
    """SHA-256, in hex, over mode, size and pixels: the same bytes in another shape differ."""
    seal = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    seal.update(image.tobytes())
    return seal.hexdigest()


def kind(data: bytes) -> str | None:
    """The media type of a picture by its first bytes; None: no kind of picture we read."""
    decoder = _decoder(data)
    return None if decoder is None else _KINDS[decoder]


def _decoder(data: bytes) -> type[ImageFile] | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    return next((kind for magic, kind in _SIGNATURES if data.startswith(magic)), None)


def _upright(image: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation; metadata that cannot be read says nothing about rotation."""
    try:
        return ImageOps.exif_transpose(image)
    except _DECODE_ERRORS:
        return image


def _too_large(message: str, param: str | None) -> BadRequestError:
    return BadRequestError(message, param, "image_too_large")


def _undecodable(param: str | None) -> BadRequestError:
    # One text for every cause: Pillow's own messages hold addresses and offsets.
    return BadRequestError(
        "the image could not be decoded; PNG, JPEG, WebP and GIF are accepted",
        param,
        "invalid_image_format",
    )
