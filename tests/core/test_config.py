"""One TOML, strict: what is not understood is refused with its path."""

import msgspec
import pytest

from mmspec.core.config import Config, ModelConfig, load, parse
from mmspec.core.errors import ConfigError


def test_empty_is_the_default():
    assert parse("") == Config()
    assert parse("").drafters["retrieval"].keys() == {"suffix", "recycling", "prediction"}


def test_unnamed_drafters_are_those_that_suit_the_model():
    nano, other = Config(), Config(model=ModelConfig(path="somebody/else"))
    assert nano.drafters["text"] == {"eagle": {"path": "nano-eagle", "pages": 4, "looks": [1]}}
    assert nano.drafters["vision"] == {"vispec": {"path": "nano-vispec"}}
    assert nano.drafters["longctx"].keys() == {"rapid", "longspec"}
    assert nano.drafters.keys() - other.drafters.keys() == {"text", "vision", "longctx"}
    assert msgspec.structs.replace(nano, model=other.model) == other
    assert parse("[drafters]").drafters == {}
    named = parse("[drafters.retrieval.suffix]")
    assert msgspec.structs.replace(named, model=other.model).drafters == named.drafters
    assert msgspec.to_builtins(nano)["drafters"] == dict(nano.drafters)


def test_values_and_addresses(tmp_path):
    file = tmp_path / "mmspec.toml"
    file.write_text(
        '[model]\npath = "nano"\nnumerics = "near-tie"\n[engine]\nmax_nodes = 8\n'
        "[drafters.text.eagle]\nwidth = 4\n"
    )
    config = load(file)
    assert config.model.numerics == "near-tie"
    assert config.engine.max_nodes == 8
    assert config.drafters == {"text": {"eagle": {"width": 4}}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[engine]\nnodes = 3", "nodes"),
        ("[speculation]\n", "speculation"),
        ('[engine]\nmax_nodes = "many"', r"\$\.engine\.max_nodes"),
        ('[model]\nnumerics = "exact"', r"\$\.model\.numerics"),
        ('[model]\ndtype = "int8"', r"\$\.model\.dtype"),
        ("[drafters]\ntext = 3", r"\$\.drafters"),
        ("[engine", "TOML"),
    ],
)
def test_refusals_name_the_place(text, says):
    with pytest.raises(ConfigError, match=says):
        parse(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load(tmp_path / "absent.toml")
