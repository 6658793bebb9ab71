"""Cases: the template once, pictures once, and only what may be shortened is shortened."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from evals.methods import folders
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.method import UnsupportedError
from mmspec_evals.running.prepare import Asked, Preparer, prompt_sha
from mmspec_evals.running.trim import shares, shortened
from mmspec_evals.task import Corpus, Task

WORDS = "The quick brown fox jumps over the lazy dög 北京. "


def task(style="chat", cap=16):
    return Task(
        name="t", version=1, profile="both", style=style, max_new_tokens=cap, metrics=(),
        load=lambda _: Corpus((), "mini", None, "", 0), score=lambda *_: {},
    )  # fmt: skip


def doc(*turns, system=None, **fields):
    shaped = tuple(
        tuple(Text(part) if isinstance(part, str) else part for part in turn) for turn in turns
    )
    return Doc(id="d", turns=shaped, target=None, cluster="d", system=system, fields=fields)


def file(color="red"):
    sink = io.BytesIO()
    folders.picture(color).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def processor(seeing):
    return seeing.processor


@pytest.fixture(scope="module")
def prepare(processor):
    return Preparer(processor, 400)


def spelt(processor, case):
    """A prompt's text with its control tokens."""
    return "".join(processor.token_bytes(int(id)).decode() for id in case.prompt.ids)


def test_a_conversation_is_templated_once(prepare, processor):
    case = prepare.case(task(), doc(["What is ", "this?"], system="Be brief."))
    assert spelt(processor, case) == (
        "<|bos|><|system|>Be brief.<|end|><|user|>What is this?<|end|><|assistant|>"
    )
    assert case.prompt.ids.tolist().count(1) == 1
    assert case.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?"},
    ]
    assert case.text is None
    assert case.truncated == 0
    assert case.sampling.max_tokens == 16
    assert case.sampling.temperature == 0.0


def test_answers_given_stand_between_the_turns(prepare, processor):
    two = doc(["One?"], ["Two?"])
    case = prepare.case(task(), two, turn=1, answers=["First."])
    assert spelt(processor, case) == (
        "<|bos|><|user|>One?<|end|><|assistant|>First.<|end|><|user|>Two?<|end|><|assistant|>"
    )
    assert [message["role"] for message in case.messages] == ["user", "assistant", "user"]
    with pytest.raises(ValueError, match="1 answers, not 0"):
        prepare.case(task(), two, turn=1)


def test_bare_text_is_continued_as_it_is(prepare, processor):
    case = prepare.case(task("completion"), doc(["The pass key", " is"]))
    assert case.text == "The pass key is"
    assert case.messages is None
    assert case.prompt.ids.tolist() == processor.text("The pass key is").ids.tolist()
    assert prepare.count("The pass key is") == len(case.prompt.ids)


def test_a_document_may_have_its_own_style_and_cap(processor):
    own = doc(["x"], style="completion", max_new_tokens=3)
    assert Preparer(processor, 400).case(task(), own).text == "x"
    assert Preparer(processor, 400).case(task(), own).sampling.max_tokens == 3
    asked = Asked(max_new_tokens=5, temperature=0.5, ignore_eos=True)
    sampling = Preparer(processor, 400, asked).case(task(), own).sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.ignore_eos) == (5, 0.5, True)


def test_a_case_has_a_seed_of_its_own(prepare, processor):
    one = doc(["x"])
    seeds = {
        Preparer(processor, 400, Asked(seed=seed)).case(task(), one, repeat=repeat).sampling.seed
        for seed in (0, 1)
        for repeat in (0, 1)
    }
    assert len(seeds) == 4
    assert prepare.case(task(), one).sampling.seed in seeds


def test_a_picture_is_read_once_and_keeps_its_place(prepare, processor):
    read = []

    def reads(color):
        read.append(color)
        return file(color)

    parts = [Picture("a", lambda: reads("red")), "between ", "them", Picture("b", file), "end"]
    case = prepare.case(task(), doc(parts))
    assert read == ["red"]
    assert [media.length for media in case.prompt.media] == [36, 36]
    kinds = [part["type"] for part in case.messages[0]["content"]]
    assert kinds == ["image_url", "text", "image_url", "text"]
    assert case.messages[0]["content"][1]["text"] == "between them"
    head, _, payload = case.messages[0]["content"][0]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(payload) == file("red")
    # The pixels count, not the file: both pictures here are the same.
    assert len({media.digest for media in case.prompt.media}) == 1


def test_prompts_are_told_apart_by_ids_and_pictures(prepare):
    def sha(color, text):
        parts = [Picture("p", lambda: file(color)), text]
        return prompt_sha(prepare.case(task(), doc(parts)).prompt)

    assert sha("red", "x") == sha("red", "x")
    assert len({sha("red", "x"), sha("blue", "x"), sha("red", "y")}) == 3


def test_what_the_target_cannot_read_is_unsupported(text, prepare):
    blind = Preparer(text.processor, 400)
    picture = doc([Picture("p", file), "what?"])
    with pytest.raises(UnsupportedError, match="reads text only"):
        blind.case(task(), picture)
    with pytest.raises(UnsupportedError, match="bare text"):
        prepare.case(task("completion"), picture)
    with pytest.raises(UnsupportedError, match=r"decoded.*broken\.png"):
        prepare.case(task(), doc([Picture("broken.png", lambda: b"no picture"), "what?"]))


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_only_the_long_part_loses_its_middle(prepare, style):
    long = "".join(f"line {index} {WORDS}" for index in range(60))
    question = "What did line 3 say?"
    case = prepare.case(task(style), doc([Text("Read: "), Text(long, trim=True), Text(question)]))
    said = case.text or case.messages[0]["content"]
    assert said.startswith("Read: line 0 The")
    assert said.endswith(question)
    left = said.removeprefix("Read: ").removesuffix(question)
    cut = next(i for i, (a, b) in enumerate(zip(left, long, strict=False)) if a != b)
    assert left[:cut] == long[:cut]
    assert long.endswith(left[cut:])
    assert 0.4 < cut / len(left) < 0.6
    # It fits beside the answer, and little room is wasted.
    assert 375 <= len(case.prompt.ids) <= 384
    whole = Preparer(prepare._processor, 10**6).case(
        task(style), doc([Text("Read: "), Text(long, trim=True), Text(question)])
    )
    assert whole.truncated == 0
    assert case.truncated == len(whole.prompt.ids) - len(case.prompt.ids) > 0


def test_several_long_parts_share_the_loss(prepare):
    short, long = WORDS * 10, WORDS * 30
    case = prepare.case(
        task(), doc([Text(short, trim=True), Text("|"), Text(long, trim=True), Text("end")])
    )
    first, second = case.messages[0]["content"].removesuffix("end").split("|")
    assert 0.2 < len(first) / len(second) < 0.45


def test_earlier_turns_are_shortened_too(prepare):
    case = prepare.case(
        task(), doc([Text(WORDS * 60, trim=True), Text("One?")], ["Two?"]), turn=1, answers=["Yes."]
    )
    assert len(case.prompt.ids) <= 384
    assert case.messages[0]["content"].endswith("One?")
    assert case.messages[2]["content"] == "Two?"


def test_what_cannot_fit_says_the_numbers(prepare, processor):
    with pytest.raises(UnsupportedError, match=r"has \d{4} tokens; a context of 400 leaves it 384"):
        prepare.case(task(), doc([WORDS * 200]))
    with pytest.raises(UnsupportedError, match="leaves it 384"):
        prepare.case(task(), doc([Text("short", trim=True), Text(WORDS * 200)]))
    with pytest.raises(UnsupportedError, match="leaves it 0"):
        Preparer(processor, 10).case(task(), doc([Text("short", trim=True)]))


def test_official_truncation_cuts_the_whole_text_question_and_all(processor):
    words = "".join(f"{index} " for index in range(300))
    whole = processor.text(words).ids.tolist()
    asked = Asked(truncate="official", official_tokens=101)
    case = Preparer(processor, 400, asked).case(task("completion"), doc([words]))
    halves = processor.decode(whole[:50]) + processor.decode(whole[-50:])
    assert case.text == halves
    assert len(case.prompt.ids) <= 101
    assert case.truncated == len(whole) - len(case.prompt.ids)
    chat = Preparer(processor, 400, asked).case(task(), doc([words]))
    # The template is outside: it is neither cut nor counted twice.
    assert spelt(processor, chat).startswith("<|bos|><|user|>0 1 2 ")
    assert spelt(processor, chat).endswith("299 <|end|><|assistant|>")
    assert len(chat.prompt.ids) <= 101


def test_official_truncation_leaves_alone_what_fits(processor):
    asked = Asked(truncate="official")
    case = Preparer(processor, 400, asked).case(task(), doc(["short ", Text("x", trim=True)]))
    assert case.truncated == 0
    picture = doc([Picture("p", file), WORDS * 100])
    with pytest.raises(UnsupportedError, match="without pictures"):
        Preparer(processor, 400, asked).case(task(), picture)


@given(st.text(max_size=30), st.integers(0, 40))
def test_shortened_text_is_made_of_slices(processor, whole, keep):
    offsets = processor.offsets(whole)
    said = shortened(whole, offsets, keep)
    if keep >= len(offsets):
        assert said == whole
    size = len(said)
    assert any(said == whole[:head] + whole[len(whole) - size + head :] for head in range(size + 1))


def test_halves_by_hand():
    offsets = np.array([[0, 1], [1, 3], [3, 3], [3, 4], [4, 6]])
    assert shortened("abcdef", offsets, 3) == "abcef"  # two tokens, and the last
    assert shortened("abcdef", offsets, 1) == "a"
    assert shortened("abcdef", offsets, 0) == ""
    assert shortened("abcdef", offsets, 5) == "abcdef"
    shared = np.array([[0, 1], [0, 1], [1, 2]])  # two tokens of one character
    assert shortened("é!", shared, 2) == "é!"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.integers(0, 3000))
def test_shares_never_keep_too_much(lengths, excess):
    kept = shares(lengths, excess)
    assert sum(kept) <= max(0, sum(lengths) - excess)
    assert all(0 <= one <= length for one, length in zip(kept, lengths, strict=True))
