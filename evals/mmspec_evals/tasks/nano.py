"""Our own held-out pictures, documents and programs: what the bundled model learnt, on other seeds.

The generators are those of ``mmspec.train.data``; training reads even seeds, these tasks odd ones.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mmspec.train.data import documents, picture_language, pictures, programs
from mmspec.train.data.seeds import example_seed
from mmspec.train.data.two_pictures import two_pictures
from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.metrics.described import claims
from mmspec_evals.metrics.likeness import edit_similarity
from mmspec_evals.task import Corpus, Metric, Task, Want
from mmspec_evals.tasks.nano_code import CODE
from mmspec_evals.tasks.synthetic import corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from PIL.Image import Image

    from mmspec.train.data.picture_language import Asked
    from mmspec_evals.doc import Part

    Loading = Callable[[Want], Iterator[Doc]]

FIRST = 10_500_000  # held-out examples from here on are this module's own
DOCUMENTS = 20  # made when the run names no limit
TOKENS = 700  # of a document, when the run names no lengths
ACCURACY = Metric("accuracy")
VALUE = Metric("value")  # the deciding value stands in the answer


def _seed(want: Want, index: int) -> int:
    return example_seed("held_out", FIRST + 100_000 * (want.seed % 1000) + index)


def _picture(name: str, image: Image) -> Picture:
    def read() -> bytes:
        data = io.BytesIO()
        image.save(data, "PNG")
        return data.getvalue()

    return Picture(name, read)


def _questions(want: Want) -> Iterator[Doc]:
    """Short questions: two thirds about scenes of 1 to 9 things, then charts and words in turn."""
    for index in range(want.limit or DOCUMENTS):
        seed = _seed(want, index)
        if index % 3 < 2:
            image, facts = pictures.scene(seed, 1 + index % 9)
        else:
            image, facts = pictures.chart(seed) if index % 2 else pictures.word(seed)
        asked = picture_language.questions(facts, seed, 1)[0]
        yield Doc(
            id=f"{seed}",
            turns=((_picture(f"{facts.kind}-{seed}.png", image), Text(asked.question)),),
            target=asked.answer,
            cluster=f"{seed}",
            fields={"category": f"{facts.kind}: {asked.kind}"},
        )


def _descriptions(want: Want) -> Iterator[Doc]:
    """Scenes of 7 to 9 things, which take about 160 to 200 tokens to describe."""
    for index in range(want.limit or DOCUMENTS):
        seed = _seed(want, 50_000 + index)
        image, facts = pictures.scene(seed, 7 + index % 3)
        things = {thing.place: [thing.size, thing.colour, thing.shape] for thing in facts.things}
        yield Doc(
            id=f"{seed}",
            turns=((_picture(f"scene-{seed}.png", image), Text(picture_language.DESCRIBE[0])),),
            target=picture_language.describe(facts),
            cluster=f"{seed}",
            fields={"things": things},
        )


def _once(seed: int, shown: Sequence[Part], asked: Asked | documents.Pair) -> Doc:
    """One question about what is shown, whose kind is its category."""
    return Doc(
        id=f"{seed}",
        turns=((*shown, Text(asked.question)),),
        target=asked.answer,
        cluster=f"{seed}",
        fields={"category": asked.kind},
    )


def _pairs(want: Want) -> Iterator[Doc]:
    """Two pictures in one message, and a question about one of them, or its description."""
    for index in range(want.limit or DOCUMENTS):
        seed = _seed(want, 70_000 + index)
        images, told = two_pictures(seed)
        asked = told[index % len(told)]
        shown = [_picture(f"{seed}-{place}.png", image) for place, image in enumerate(images)]
        yield _once(seed, shown, asked)


def _code(draw: Callable[[int, int], tuple[str, list[documents.Pair]]]) -> Loading:
    """Programs to be written or changed: the code that is asked for is the one right answer."""

    def make(want: Want) -> Iterator[Doc]:
        for index in range(want.limit or DOCUMENTS):
            seed = _seed(want, 80_000 + index)
            text, pairs = draw(seed, 0)
            asked = pairs[index % len(pairs)]
            shown = (Text(text + "\n\n"),) if text else ()
            yield _once(seed, shown, asked)

    return make


def _reading(kind: str, turns: int) -> Loading:
    """Documents of the wished lengths, asked ``turns`` questions of one kind, one after another."""

    def make(want: Want) -> Iterator[Doc]:
        lengths = want.tokens or (TOKENS,)
        for index in range(want.limit or DOCUMENTS):
            seed, tokens = _seed(want, 60_000 + index), lengths[index % len(lengths)]
            document, pairs = documents.document(seed, tokens)
            asked = [pair for pair in pairs if pair.kind == kind][:turns]
            said = [(Text(pair.question),) for pair in asked]
            yield Doc(
                id=f"{seed}-{tokens}",
                turns=((Text(document.text + "\n\n", trim=True), *said[0]), *said[1:]),
                target=[{"answer": pair.answer, "value": pair.value} for pair in asked],
                cluster=f"{seed}",
                fields={"tokens": tokens},
            )

    return make


def _chapters(want: Want) -> Iterator[Doc]:
    """Documents of the wished lengths, of which one long section is to be repeated."""
    lengths = want.tokens or (TOKENS,)
    for index in range(want.limit or DOCUMENTS):
        seed, tokens = _seed(want, 90_000 + index), lengths[index % len(lengths)]
        document, asked = documents.chapter(seed, tokens)
        yield Doc(
            id=f"{seed}-{tokens}",
            turns=((Text(document.text + "\n\n", trim=True), Text(asked.question)),),
            target=asked.answer,
            cluster=f"{seed}",
            fields={"tokens": tokens},
        )


def _likened(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    """Long answers by their likeness too: one slip need not spoil three hundred tokens."""
    alike = edit_similarity(answers[0].strip(), doc.target)
    return {"accuracy": float(answers[0].strip() == doc.target), "edit_similarity": alike}


def _same(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    return {"accuracy": float(answers[0].strip() == doc.target)}


def _described(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    """Share of the sizes, colours and shapes that stand at their place in the description."""
    claimed = claims(answers[0])
    things: Mapping[str, Any] = doc.fields["things"]
    marks = [
        said == true
        for place, thing in things.items()
        for said, true in zip(claimed.get(place, ("", "", "")), thing, strict=True)
    ]
    return {
        "facts": sum(marks) / len(marks),
        "exact": float(answers[0].strip() == doc.target),
    }


def _quoted(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    """Whole answers that are right, and answers that hold the deciding value."""
    wanted = doc.target
    exact = [said.strip() == want["answer"] for said, want in zip(answers, wanted, strict=True)]
    scores = {"accuracy": sum(exact) / len(exact)}
    told = [(said, want["value"]) for said, want in zip(answers, wanted, strict=True)]
    valued = [f"The answer is {value}." in said for said, value in told if value]
    return scores | ({"value": sum(valued) / len(valued)} if valued else {})


def _loader(make: Loading) -> Callable[[Want], Corpus]:
    return lambda want: corpus(make(want), "held-out seeds of our own generators")


TASKS: tuple[Task, ...] = (
    Task(
        "nano_vqa", 2, "quality", "chat", 40, (ACCURACY,), _loader(_questions), _same,
        modality="image",
    ),
    Task(
        "nano_describe", 2, "both", "chat", 260, (Metric("facts"), Metric("exact")),
        _loader(_descriptions), _described, modality="image",
    ),
    Task(
        "nano_pair", 1, "quality", "chat", 160, (ACCURACY,), _loader(_pairs), _same,
        modality="image",
    ),
    Task(
        "nano_program/write", 1, "both", "chat", 320, (ACCURACY,), _loader(_code(programs.write)),
        _same,
    ),
    Task(
        "nano_program/change", 1, "both", "chat", 320, (ACCURACY,),
        _loader(_code(programs.change)), _same,
    ),
    Task(
        "nano_docqa/fact", 1, "both", "chat", 64, (ACCURACY, VALUE),
        _loader(_reading("fact", 1)), _quoted,
    ),
    Task(
        "nano_docqa/quote", 1, "both", "chat", 200, (ACCURACY,), _loader(_reading("quote", 1)),
        _quoted,
    ),
    Task(
        "nano_docqa/long", 1, "both", "chat", 200, (ACCURACY,), _loader(_reading("quote", 4)),
        _quoted,
    ),
    Task(
        "nano_docqa/chapter", 1, "both", "chat", 512, (ACCURACY, Metric("edit_similarity")),
        _loader(_chapters), _likened,
    ),
    CODE,
)  # fmt: skip
