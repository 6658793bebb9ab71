"""The README's examples: a picture, a long document, and speculation off and on.

make serve            # in one terminal
.venv/bin/python examples/readme.py   # in another
"""

from __future__ import annotations

import base64
import io
import random

from openai import OpenAI
from PIL import Image, ImageDraw

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")


def picture() -> str:
    """A large red circle at the top left and a small blue square at the bottom right."""
    image = Image.new("RGB", (96, 96), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((5, 5, 27, 27), fill=(220, 40, 40))
    pen.rectangle((74, 74, 86, 86), fill=(50, 80, 220))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def document(notes: int) -> str:
    """Notes on mills and what they sold; 430 of them are about ten thousand tokens."""
    rng = random.Random(4)
    towns = ["Arlen", "Brost", "Celdon", "Dravik", "Elmar", "Fosten", "Gralt", "Helmen"]
    goods = ["salt", "wool", "copper", "barley", "timber", "glass", "honey", "linen"]
    return " ".join(
        f"Note {n}: the mill of {rng.choice(towns)} sold {rng.randrange(10, 90)} sacks of "
        f"{rng.choice(goods)}."
        for n in range(1, notes + 1)
    )


def ask_picture() -> None:
    """A picture and a question, streamed."""
    content = [
        {"type": "image_url", "image_url": {"url": picture()}},
        {"type": "text", "text": "Describe the picture."},
    ]
    stream = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": content}],
        temperature=0,
        stream=True,
    )
    print("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))


def ask_document() -> None:
    """A long document and a question on it."""
    answer = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": f"{document(430)}\n\nWho sold honey?"}],
        temperature=0,
        max_tokens=60,
        extra_body={"speculation": {"report": True}},
    )
    tau = answer.model_extra["mmspec"]["speculation"]["tau"]
    print(f"{answer.usage.prompt_tokens} prompt tokens, tau {tau:.2f}:")
    print(answer.choices[0].message.content)


def off_and_on() -> None:
    """The same text with speculation off and on, sampled with a seed."""
    texts = []
    for enabled in (False, True):
        answer = client.chat.completions.create(
            model="nano",
            messages=[{"role": "user", "content": "What are you?"}],
            temperature=1,
            seed=7,
            max_tokens=80,
            extra_body={"speculation": {"enabled": enabled, "report": True}},
        )
        told = answer.model_extra["mmspec"]["speculation"]
        texts.append(answer.choices[0].message.content)
        print(f"speculation {enabled!s:5}  tau {told['tau']:.2f}  {texts[-1]!r}")
    print("same text:", texts[0] == texts[1])


if __name__ == "__main__":
    ask_picture()
    ask_document()
    off_and_on()
