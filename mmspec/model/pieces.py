"""The exact bytes of every token, whichever of the two common alphabets a tokenizer writes in."""

from __future__ import annotations

import json
import re
from typing import Any

_BYTE = re.compile(r"^<0x([0-9A-F]{2})>$")


def byte_pieces(tokenizer: Any) -> list[bytes]:
    """Bytes of each id of a fast tokenizer; ids it does not know are empty."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    byte_level = "ByteLevel" in json.dumps(spec.get("decoder")) or "ByteLevel" in json.dumps(
        spec.get("pre_tokenizer")
    )
    added = {int(id): str(token) for id, token in tokenizer.added_tokens_decoder.items()}
    alphabet = {character: byte for byte, character in _byte_alphabet().items()}
    vocabulary = tokenizer.get_vocab()
    pieces = [b""] * (max(vocabulary.values()) + 1)
    for token, id in vocabulary.items():
        if id in added:
            pieces[id] = added[id].encode()
        elif byte_level:
            pieces[id] = bytes(alphabet[character] for character in token)
        elif match := _BYTE.match(token):
            pieces[id] = bytes([int(match[1], 16)])
        else:
            pieces[id] = token.replace("▁", " ").encode()
    return pieces


def _byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(plain))
    return table
