"""Strangers' bytes become an RGB picture or a refusal; nothing else may happen."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmspec.core.errors import BadRequestError
from mmspec.vision.media import DEFAULT_LIMITS, MediaLimits, decode, digest, parse_data_uri

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def saved(image, form, **options):
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def code_or_pixels(data, limits=DEFAULT_LIMITS):
    try:
        return decode(data, limits).tobytes()
    except BadRequestError as error:
        return error.code


FILES = {
    "png": saved(NOISE, "PNG"),
    "jpeg": saved(NOISE, "JPEG"),
    "progressive": saved(NOISE, "JPEG", progressive=True),
    "webp": saved(NOISE, "WEBP", lossless=True),
    "gif": saved(NOISE, "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_truncation_is_refused_or_harmless(name):
    """Wherever a file is cut: a refusal, or (cut in its tail) the very same pixels."""
    data = FILES[name]
    whole = decode(data).tobytes()
    for end in range(0, len(data), 7):
        assert code_or_pixels(data[:end]) in {"invalid_image_format", whole}
    with pytest.raises(BadRequestError):
        decode(data[: len(data) // 2])


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_broken_bytes_raise_nothing_else(name, changes):
    data = bytearray(FILES[name])
    for at, value in changes:
        data[at % len(data)] = value
    outcome = code_or_pixels(bytes(data), MediaLimits(max_pixels=10**6, max_side=4096))
    assert isinstance(outcome, bytes) or outcome in {"invalid_image_format", "image_too_large"}


def test_formats_beyond_the_list_are_refused():
    for form in ("TIFF", "BMP", "ICO", "PPM", "TGA"):
        with pytest.raises(BadRequestError, match="PNG, JPEG, WebP and GIF"):
            decode(saved(NOISE, form))


def test_lossless_formats_keep_pixels():
    assert decode(FILES["png"]).tobytes() == NOISE.tobytes()
    assert decode(FILES["webp"]).tobytes() == NOISE.tobytes()


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "green", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert decode(data).getpixel((2, 2)) == (255, 0, 0)


def test_alpha_lies_over_white():
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 1), (10, 20, 30, 255))
    picture.putpixel((2, 2), (0, 0, 0, 128))
    for mode in ("RGBA", "LA"):
        got = decode(saved(picture.convert(mode), "PNG"))
        assert got.getpixel((0, 0)) == (255, 255, 255)
        assert got.getpixel((2, 2)) == (127, 127, 127)
    assert got.getpixel((1, 1)) != (255, 255, 255)


def test_palette_with_transparency():
    picture = Image.new("P", (3, 3), 0)
    picture.putpalette([0, 0, 0, 200, 10, 10])
    picture.putpixel((1, 1), 1)
    got = decode(saved(picture, "PNG", transparency=0))
    assert got.getpixel((0, 0)) == (255, 255, 255)
    assert got.getpixel((1, 1)) == (200, 10, 10)


def test_sixteen_bits_keep_the_high_byte():
    wide = np.array([[0, 255, 256, 40_000, 65_535]], np.uint16)
    got = np.asarray(decode(saved(Image.fromarray(wide), "PNG")))
    assert got[0, :, 0].tolist() == [0, 0, 1, 156, 255]


def test_cmyk_and_grey():
    assert (
        decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((4, 4))[0] > 200
    )
    assert decode(saved(Image.new("L", (2, 2), 77), "PNG")).getpixel((0, 0)) == (77, 77, 77)
    assert decode(saved(Image.new("1", (2, 2), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    upright = decode(saved(NOISE, "JPEG", exif=exif.tobytes()))
    assert upright.size == (NOISE.height, NOISE.width)
    exif_noise = b"Exif\0\0" + b"\xff" * 40
    assert decode(saved(NOISE, "JPEG", exif=exif_noise)).size == NOISE.size


def test_limits_before_decoding():
    limits = MediaLimits(max_bytes=10_000, max_pixels=1000, max_side=100)
    for size, code in (((32, 32), "image_too_large"), ((101, 1), "image_too_large")):
        with pytest.raises(BadRequestError) as caught:
            decode(saved(Image.new("L", size), "PNG"), limits, "here")
        assert (caught.value.code, caught.value.param) == (code, "here")
    with pytest.raises(BadRequestError) as caught:
        decode(b"\x89PNG\r\n\x1a\n" + b"\0" * 10_000, limits)
    assert caught.value.code == "image_too_large"


def test_digest_sees_shape():
    flat = Image.new("RGB", (4, 6), "red")
    assert digest(flat) == digest(flat.copy())
    assert digest(flat) != digest(Image.new("RGB", (6, 4), "red"))
    assert digest(flat) != digest(flat.convert("L"))


def test_data_uris():
    data = FILES["png"]
    encoded = base64.b64encode(data).decode()
    assert parse_data_uri(f"data:image/png;base64,{encoded}") == data
    assert parse_data_uri(f"DATA:;BASE64,{encoded}") == data
    for bad in (
        "", "data:", "data:image/png;base64", f"data:image/png,{encoded}", f"http://x/{encoded}",
        f"data:image/png;base64,{encoded[:-2]}", f"data:image/png;base64, {encoded}",
        f"data:image/png;base64,{encoded}\n", "data:image/png;base64,é", "file:///x;base64,aaaa",
    ):  # fmt: skip
        with pytest.raises(BadRequestError) as caught:
            parse_data_uri(bad)
        assert caught.value.code == "invalid_image_url"
    with pytest.raises(BadRequestError) as caught:
        parse_data_uri(f"data:image/png;base64,{encoded}", MediaLimits(max_bytes=100))
    assert caught.value.code == "image_too_large"
