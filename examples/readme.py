"""The README's examples: a picture, a long document, and speculation off and on.

make serve            # in one terminal
.venv/bin/python examples/readme.py   # in another
"""

from __future__ import annotations

import base64
import io

from openai import OpenAI
from PIL import Image, ImageDraw

from mmspec.train.data import documents
from mmspec.train.data.seeds import example_seed

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


def ask_document(tokens: int) -> None:
    """A document of about so many tokens (fictional, never trained on) and a question on it."""
    document, pairs = documents.document(example_seed("held_out", 9107), tokens)
    question = next(pair.question for pair in pairs if pair.kind == "fact")
    answer = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": f"{document.text}\n\n{question}"}],
        temperature=0,
        max_tokens=60,
        extra_body={"speculation": {"report": True}},
    )
    tau = answer.model_extra["mmspec"]["speculation"]["tau"]
    print(f"{answer.usage.prompt_tokens} prompt tokens, tau {tau:.2f}: {question}")
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
    ask_document(250)
    ask_document(9_700)
    off_and_on()
