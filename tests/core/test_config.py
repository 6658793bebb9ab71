"""One TOML, strict: what is not understood is refused with its path."""

import pytest

from mmspec.core.config import Config, load, parse
from mmspec.core.errors import ConfigError


def test_empty_is_the_default():
    assert parse("") == Config()
    assert parse("").drafters["retrieval"].keys() == {"suffix", "recycling"}


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
