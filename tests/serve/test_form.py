"""The multipart form: however it is cut into pieces, the same fields and the same bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from serve.uploading import BOUNDARY, TYPE, end, field, form, part

from mmspec.core.errors import BadRequestError
from mmspec.serve.errors import HttpError
from mmspec.serve.form import UploadFields, UploadForm

AFTER = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}


def read(body, cuts=(), kind=TYPE, limit=1 << 20, picture=1 << 20):
    reader = UploadForm(kind, limit, picture)
    edges = [0, *sorted(cuts), len(body)]
    found = b"".join(
        piece
        for start, stop in itertools.pairwise(edges)
        for piece in reader.feed(body[start:stop])
    )
    return reader.finish(), found


def test_fields_in_any_order():
    body = part(b"bytes", "n.png") + field("purpose", "vision") + end()
    assert read(body) == (UploadFields("n.png", "vision"), b"bytes")
    assert read(form(b"", **AFTER))[0].seconds == 3600
    extra = field("note", "x" * 5000) + form()  # passed over, as everywhere
    assert read(extra) == (UploadFields("a.bin", "user_data"), b"hello")


@given(
    st.binary(max_size=300)
    | st.sampled_from([b"\r\n--a-boundary", b"\r\n--a-boundar", b"\r" * 50]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=255),
    st.lists(st.integers(0, 900), max_size=12),
)
def test_cut_anywhere(data, filename, cuts):
    assume(b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + data)
    # Backslashes and three percent sequences are read as browsers mean them: not our business.
    assume("\\" not in filename and "%" not in filename)
    body = form(data, filename=filename, **AFTER)
    cuts = [cut for cut in cuts if cut <= len(body)]
    assert read(body, cuts) == (UploadFields(filename, "user_data", 3600), data)


@given(st.binary(max_size=400), st.lists(st.integers(0, 700), max_size=6))
def test_whatever_comes(noise, cuts):
    """Noise instead of a form, or within one, ends in fields or in a refusal."""
    for body in (noise, form()[:60] + noise, form()[:-4] + noise, field("purpose", noise) + end()):
        try:
            fields, _ = read(body, [cut for cut in cuts if cut <= len(body)])
        except BadRequestError:
            continue
        assert fields.purpose in ("vision", "user_data")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(purpose="assistants"), "purpose"),
        (form(purpose="../../x" * 60), "purpose"),
        (part(b"x") + end(), "purpose"),
        (field("purpose", "vision") + end(), "file"),
        (field("purpose", "vision") + field("file", "no filename") + end(), "file"),
        (field("purpose", "vision") + part(b"x", "") + end(), "file"),
        (form(filename="n" * 256), "file"),
        (part(b"1") + part(b"2") + field("purpose", "vision") + end(), "file"),
        (field("purpose", "vision") + form(), "purpose"),
        (field("purpose", b"\xff\xfe") + form(), None),
        (field("purpose", "v" * 2000) + end(), "purpose"),
        (form(**{"expires_after[seconds]": "3600"}), "expires_after"),
        (form(**{"expires_after[anchor]": "created_at"}), "expires_after"),
        (form(**{**AFTER, "expires_after[anchor]": "now"}), "expires_after[anchor]"),
        *[
            (form(**{**AFTER, "expires_after[seconds]": seconds}), "expires_after[seconds]")
            for seconds in ("3599", "2592001", "-1", "1e4", " 3600", "٣٦٠٠", "", "9" * 300)
        ],
        (b"".join(field(f"f{i}", "x") for i in range(9)) + end(), None),
        (form()[:-10], None),
        (form().replace(b"Content-Disposition", b"Content-Oddity"), None),
        (form().replace(b'name="file"', b'name="file"\r\n' + b"x" * 9000), None),
        (b"", None),
        (b"{}", None),
        (end(), "file"),
    ],
)
def test_refusals(body, param):
    for cuts in ((), range(1, len(body), 7)):
        with pytest.raises(BadRequestError) as caught:
            read(body, cuts)
        assert caught.value.param == param
        assert len(str(caught.value)) < 400
        assert caught.value.code == (None if param else "invalid_multipart")


def test_no_form_at_all():
    for kind in ("", "application/json", "multipart/form-data", "multipart/mixed; boundary=x",
                 "multipart/form-data; boundary=" + "x" * 201):  # fmt: skip
        with pytest.raises(HttpError) as caught:
            UploadForm(kind, 1, 1)
        assert caught.value.status == 415


def test_counted_as_it_comes():
    assert read(form(b"x" * 100), limit=100)[1] == b"x" * 100
    reader = UploadForm(TYPE, 100, 100)
    start = field("purpose", "vision") + part(b"x" * 100)[:-2]
    reader.feed(start)
    with pytest.raises(HttpError) as caught:
        reader.feed(b"y" * 200)  # long before the end of the body
    assert caught.value.status == 413
    assert caught.value.body.error.code == "request_too_large"


def test_a_picture_is_counted_by_its_own_limit():
    """As soon as the purpose is known; and never by more than a file's."""
    bytes = part(b"x" * 60)
    purposes = {name: field("purpose", name) for name in ("vision", "user_data")}
    for body in (purposes["vision"] + bytes + end(), bytes + purposes["vision"] + end()):
        assert len(read(body, limit=100, picture=60)[1]) == 60
        for limits in ({"limit": 100, "picture": 59}, {"limit": 59, "picture": 100}):
            with pytest.raises(HttpError) as caught:
                read(body, **limits)
            assert caught.value.status == 413
            assert caught.value.body.error.code == "request_too_large"
            assert caught.value.body.error.param == "file"
    assert len(read(purposes["user_data"] + bytes + end(), limit=100, picture=59)[1]) == 60
    reader = UploadForm(TYPE, 1000, 60)
    reader.feed(purposes["vision"] + bytes[:-2])
    with pytest.raises(HttpError):
        reader.feed(b"y")  # at the first byte too many
