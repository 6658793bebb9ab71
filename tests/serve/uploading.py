"""Multipart bodies as clients write them, and pictures to put into them."""

from __future__ import annotations

import io

from PIL import Image

BOUNDARY = "a-boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def field(name, value, boundary=BOUNDARY):
    data = value if isinstance(value, bytes) else value.encode()
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n"


def part(data, filename="a.bin", name="file", boundary=BOUNDARY):
    quoted = filename.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + data + b"\r\n"


def end(boundary=BOUNDARY):
    return f"--{boundary}--\r\n".encode()


def form(data=b"hello", purpose="user_data", filename="a.bin", **more):
    fields = b"".join(field(name, value) for name, value in {"purpose": purpose, **more}.items())
    return fields + part(data, filename) + end()


def png(color="red", size=(24, 16)):
    sink = io.BytesIO()
    Image.new("RGB", size, color).save(sink, "PNG")
    return sink.getvalue()
