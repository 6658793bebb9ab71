"""With a drafter that sees, every family says what it says without: greedy, seeded, in company."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import running
import tiny
import torch

from mmspec.core.request import Prompt, Sampling, Speculation
from mmspec.engine.build import build_drafters
from mmspec.text.eagle_checkpoint import save_checkpoint as save_reading
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import save_checkpoint
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

NOISY = Sampling(temperature=0.8, seed=5, max_tokens=24)
SIGHTS = {
    "ours": SightConfig(tokens=2),
    "msd": SightConfig(how="keep", tokens=0, glance=False),
    "flash": SightConfig(how="latent", tokens=4, glance=False),
}
PARALLEL = {"flash": 3}


def body(target, **options):
    settings = {
        "hidden": 64, "target_hidden": 64, "layers": (0, 1, 2), "heads": 4, "kv_heads": 2,
        "head_dim": 16, "intermediate": 96, "vocabulary": target.facts.vocabulary, "window": 2,
    }  # fmt: skip
    return EagleConfig(**{**settings, **options})


def drafters(target, folder, sight="ours"):
    """A random drafter that sees and one that reads, as a configuration names them."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        shape = msgspec.structs.asdict(body(target, parallel=PARALLEL.get(sight, 1)))
        seeing = VispecNetwork(VispecConfig(**shape, sight=SIGHTS[sight]))
        for name, value in seeing.named_parameters():
            if "sight" in name and "norm" not in name:
                value.data.normal_(0, 0.3)
        save_checkpoint(folder / "seeing", seeing)
        save_reading(folder / "reading", EagleNetwork(body(target)))
    options = {"floor": 0.0, "least": 0.0}
    table = {
        "vision": {"vispec": {"path": str(folder / "seeing"), **options}},
        "text": {"eagle": {"path": str(folder / "reading"), **options}},
        "retrieval": {"suffix": {}},
    }
    return build_drafters(table, target.facts)


def mixed(name):
    """Requests with none, one and several pictures."""
    words = np.random.default_rng(1).integers(1, 150, 40)
    pictured = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    return pictured | {"words": Prompt(words), "few": Prompt(words[:3])}


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("name", tiny.SEEING)
def test_the_target_says_the_same_with_and_without_it(name, sight, tmp_path):
    target = tiny.target(name)
    loud = running.engine(target, drafters(target, tmp_path, sight))
    quiet, prompts = running.engine(target), mixed(name)
    said = running.reported(loud, prompts)
    for index in range(len(tiny.prompts(name))):
        assert said[str(index)][0] == tiny.greedy(name, index)
    for id, (_, report) in said.items():
        assert report.route == ("vision" if prompts[id].media else "text")
        assert report.drafted > 0
        spoke = {address.split(".")[0] for address in report.by_source}
        assert spoke <= {report.route, "retrieval"}
        assert all(reason.startswith("routed") for reason in report.off_reasons.values())
    assert running.run(loud, prompts, NOISY) == running.run(quiet, prompts, NOISY)


@pytest.mark.parametrize(
    ("name", "sight"), [("llava", "ours"), ("qwen2_5_vl", "ours"), ("llava", "flash")]
)
def test_company_changes_nothing(name, sight, tmp_path):
    target = tiny.target(name)
    made, prompts = drafters(target, tmp_path, sight), mixed(name)
    together = running.run(running.engine(target, made), prompts, NOISY)
    for id, prompt in prompts.items():
        assert running.run(running.engine(target, made), {id: prompt}, NOISY) == {id: together[id]}


@pytest.mark.parametrize("name", tiny.SEEING)
def test_another_picture_changes_what_is_said(name, tmp_path):
    """The target looks: the same words over other pixels, with drafting on."""
    target = tiny.target(name)
    loud = running.engine(target, drafters(target, tmp_path))
    prompt = tiny.prompts(name)[1]
    (media,) = prompt.media
    pixels = {
        key: -value if key == "pixel_values" else value for key, value in media.inputs.items()
    }
    other = replace(prompt, media=(replace(media, digest="other", inputs=pixels),))
    said = running.run(loud, {"own": prompt, "other": other})
    assert said["own"] != said["other"]


def test_an_end_inside_a_block_ends_the_text(tmp_path):
    """Nothing that was accepted behind an end of text is told."""
    target = tiny.target("llava")
    made, prompt = drafters(target, tmp_path), tiny.prompts("llava")[1]
    (whole,) = running.run(running.engine(target), {"a": prompt}).values()
    for at in range(2, len(whole) - 1, 3):
        if whole.index(whole[at]) != at:
            continue
        ending = Sampling(temperature=0.0, max_tokens=40, stop_token_ids=(whole[at],))
        (told,) = running.run(running.engine(target, made), {"a": prompt}, ending).values()
        assert told == whole[: at + 1]


def test_a_request_may_name_its_drafters(tmp_path):
    target = tiny.target("llava")
    loud = running.engine(target, drafters(target, tmp_path))
    prompt = tiny.prompts("llava")[1]
    asked = Speculation(drafters=("text.eagle",))
    ((_, report),) = running.reported(loud, {"a": prompt}, speculation=asked).values()
    assert report.route == "asked"
    assert set(report.by_source) == {"text.eagle"}
