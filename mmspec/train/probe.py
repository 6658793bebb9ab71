"""The probe: greedy answers on held-out examples, marked by the generators' own ground truth."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmspec.train.data import copying, documents, picture_language, pictures, programs
from mmspec.train.data.pictures import COLOURS, PLACES, SHAPES, SIZES, Facts, Thing
from mmspec.train.data.seeds import example_seed
from mmspec.train.data.two_pictures import two_pictures

BATCH = 16
BATCH_CHARACTERS = 60_000  # long prompts go few at a time
FIRST = 10_000_000  # held-out examples from here on were never looked at while training
PASSKEY_TOKENS = (512, 2048, 8192, 16384)
DOCUMENT_TOKENS = (250, 1000, 4000, 8000)
LONG = 1500  # from here on every fourth example is asked, and no whole sections
PAIRS = 50  # lines of a large look-up


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt, the answer wanted, and how to mark it: whole, or only its deciding `value`."""

    kind: str
    prompt: str
    answer: str
    images: tuple[Image.Image, ...] = ()
    facts: Facts | None = None
    value: str = ""


class Answerer:
    """A model folder that answers prompts greedily, loaded with the plain Auto classes."""

    def __init__(self, folder: Path) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()

    @torch.inference_mode()
    def answer(self, trials: Sequence[Trial], limit: int = 220) -> list[str]:
        """One answer a trial, in order; all with a picture or all without."""
        told: list[str] = []
        start = 0
        while start < len(trials):
            size = max(len(t.prompt) for t in trials[start : start + BATCH])
            part = trials[start : start + max(1, min(BATCH, BATCH_CHARACTERS // size))]
            start += len(part)
            pictured = [image for t in part for image in t.images]
            inputs = self.processor(
                text=[self._prompt(t) for t in part],
                images=pictured or None,
                padding=True,
                return_tensors="pt",
            ).to(self.model.dtype)
            ids = self.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
            fresh = ids[:, inputs["input_ids"].shape[1] :]
            told += self.processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return told

    def tokens(self, texts: Sequence[str]) -> float:
        """Mean number of tokens."""
        return fmean(len(ids) for ids in self.processor.tokenizer(list(texts))["input_ids"])

    def _prompt(self, trial: Trial) -> str:
        parts = [{"type": "image"}] * len(trial.images)
        content = [*parts, {"type": "text", "text": trial.prompt}]
        message = [{"role": "user", "content": content}]
        text: str = self.processor.apply_chat_template(message, add_generation_prompt=True)
        return text


def probe(folder: Path, examples: int) -> dict[str, Any]:
    """Score a model folder on `examples` held-out examples a group; shares are in 0..1."""
    answerer = Answerer(folder)
    asked = list(picture_trials(examples))
    told = answerer.answer(asked, limit=40)
    blind = answerer.answer([_blanked(t) for t in asked], limit=40)
    report: dict[str, Any] = {"examples": examples, "numbers": "greedy, held-out seeds"}
    report["picture_questions"] = _by_kind(asked, told)
    report["blank_picture_questions"] = _by_kind(asked, blind)
    pairs = list(two_picture_trials(examples))
    report["two_pictures"] = _by_kind(pairs, answerer.answer(pairs, limit=120))
    described = list(description_trials(examples))
    told = answerer.answer(described, limit=260)
    report["described_facts"] = _facts_right(described, told)
    report["described_facts_blank"] = _facts_right(
        described, answerer.answer([_blanked(t) for t in described], limit=260)
    )
    report["description_tokens"] = answerer.tokens([t.answer for t in described])
    report["whole_descriptions"] = _share(
        [t.answer == a for t, a in zip(described, told, strict=True)]
    )
    for name, trials in text_trials(examples).items():
        told = answerer.answer(trials, limit=80 if name.startswith(("passkey", "lookup")) else 260)
        report[name] = _by_kind(trials, told)
        report[name + "_value"] = _share([t.value in a for t, a in zip(trials, told, strict=True)])
    return report


def picture_trials(examples: int) -> Iterator[Trial]:
    """Short questions: two thirds about scenes of 1 to 9 objects, the rest charts and words."""
    for index in range(examples * 3):
        seed = example_seed("held_out", FIRST + index)
        if index % 3 < 2:
            image, facts = pictures.scene(seed, 1 + index % 9)
        else:
            image, facts = pictures.chart(seed) if index % 2 else pictures.word(seed)
        for asked in picture_language.questions(facts, seed, 2):
            yield Trial(
                f"{facts.kind}: {asked.kind}", asked.question, asked.answer, (image,), facts
            )


def two_picture_trials(examples: int) -> Iterator[Trial]:
    """Questions about one of two pictures."""
    for index in range(examples):
        seed = example_seed("held_out", FIRST + 3_000_000 + index)
        images, told = two_pictures(seed)
        for asked in (told[index % len(told)], told[(index + 5) % len(told)]):
            yield Trial(asked.kind, asked.question, asked.answer, images)


def description_trials(examples: int) -> Iterator[Trial]:
    """Descriptions of scenes of 7 to 9 objects: about 160 to 200 tokens."""
    for index in range(examples):
        seed = example_seed("held_out", FIRST + 1_000_000 + index)
        image, facts = pictures.scene(seed, 7 + index % 3)
        answer = picture_language.describe(facts)
        yield Trial("describe", picture_language.DESCRIBE[0], answer, (image,), facts)


def text_trials(examples: int) -> dict[str, list[Trial]]:
    """Document questions, quotes, copies, look-ups, programs, pass keys; at several lengths."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for index in range(examples):
        seed = example_seed("held_out", FIRST + 2_000_000 + index)
        for tokens in DOCUMENT_TOKENS:
            if tokens < LONG or index % 4 == 0:
                groups[f"document_{tokens}"] += _about_document(seed, tokens)
        for name, draw in _SHORT.items():
            groups[name].append(_text_trial(name, draw(seed, 60)))
        groups["lookup_50"].append(_large_lookup(seed))
        for tokens in PASSKEY_TOKENS:
            if tokens < LONG or index % 4 == 0:
                groups[f"passkey_{tokens}"].append(
                    _text_trial("passkey", copying.passkey(seed, tokens))
                )
    return dict(groups)


_SHORT = {
    "repeat": copying.repeat,
    "lookup": copying.key_values,
    "program": programs.write,
    "change": programs.change,
}


def _about_document(seed: int, tokens: int) -> Iterator[Trial]:
    made, pairs = documents.document(seed, tokens)
    for kind in ("fact", "quote") if tokens < LONG else ("fact",):
        pair = next(p for p in pairs if p.kind == kind)
        value = f"The answer is {pair.value}." if kind == "fact" else pair.answer
        yield Trial(kind, f"{made.text}\n\n{pair.question}", pair.answer, value=value)


def _large_lookup(seed: int) -> Trial:
    text, pairs = copying.key_values(seed, 20 * PAIRS)
    lines = text.splitlines()[:PAIRS]
    shown = {line.split()[0].rstrip(":") for line in lines}
    pair = next(p for p in pairs if shown & {word.rstrip("?.") for word in p.question.split()})
    prompt = "\n".join(lines) + f"\n\n{pair.question}"
    return Trial("lookup", prompt, pair.answer, value=pair.value)


def described(text: str) -> dict[str, tuple[str, str, str]]:
    """What a description claims to stand at each place: place -> (size, colour, shape)."""
    thing = f"({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    place = f"({'|'.join(sorted(PLACES, key=len, reverse=True))})"
    found: dict[str, tuple[str, str, str]] = {}
    for here, *what in re.findall(rf"(?:At the|The) {place} (?:there is|holds) a {thing}", text):
        found[here] = (what[0], what[1], what[2])
    for size, colour, shape, here in re.findall(rf"A {thing} is at the {place}\.", text):
        found[here] = (size, colour, shape)
    return found


def _text_trial(kind: str, made: tuple[str, list[documents.Pair]]) -> Trial:
    text, pairs = made
    prompt = f"{text}\n\n{pairs[0].question}" if text else pairs[0].question
    return Trial(kind, prompt, pairs[0].answer, value=pairs[0].value)


def _facts_right(trials: Sequence[Trial], told: Sequence[str]) -> float:
    """Share of (place, size), (place, colour), (place, shape) facts that were told rightly."""
    marks: list[bool] = []
    for trial, text in zip(trials, told, strict=True):
        things: tuple[Thing, ...] = trial.facts.things if trial.facts else ()
        claims = described(text)
        for thing in things:
            claim = claims.get(thing.place, ("", "", ""))
            truth = (thing.size, thing.colour, thing.shape)
            marks += [c == t for c, t in zip(claim, truth, strict=True)]
    return _share(marks)


def _by_kind(trials: Sequence[Trial], told: Sequence[str]) -> dict[str, float]:
    marks: dict[str, list[bool]] = defaultdict(list)
    for trial, text in zip(trials, told, strict=True):
        family, found, _ = trial.kind.partition(": ")
        for kind in (trial.kind, "all", *([f"{family}: all"] if found else [])):
            marks[kind].append(text == trial.answer)
    return {kind: _share(row) for kind, row in sorted(marks.items())}


def _blanked(trial: Trial) -> Trial:
    image = pictures.blank(trial.facts.background if trial.facts else "white")
    return Trial(trial.kind, trial.prompt, trial.answer, (image,), trial.facts, trial.value)


def _share(marks: Sequence[bool]) -> float:
    return round(sum(marks) / len(marks), 4) if marks else 0.0
