"""What identifies a model and a machine."""

import msgspec
import pytest
from mmspec_evals.running import environment, fingerprint


def folder(path, **files):
    path.mkdir()
    for name, text in {"config.json": "{}", "model.safetensors": "w", **files}.items():
        (path / name).write_text(text)
    return fingerprint.model(str(path))


def test_a_model_is_known_by_what_it_reads_wherever_it_lies(tmp_path):
    one = folder(tmp_path / "a")
    assert folder(tmp_path / "b", **{"README.md": "words"}) == one
    changed = [
        folder(tmp_path / "c", **{"model.safetensors": "v"}),
        folder(tmp_path / "d", **{"config.json": "[]"}),
        folder(tmp_path / "e", **{"chat_template.jinja": "x"}),
    ]
    assert len({one, *changed}) == 4


def test_a_model_that_is_not_here_is_known_by_its_name():
    assert fingerprint.model("nobody/nothing") == "nobody/nothing@unknown"


@pytest.mark.parametrize(
    ("field", "value"), [("threads", 99), ("dtype", "float32"), ("torch", "1.0"), ("cpu", "x")]
)
def test_a_machine_differs_in_what_shapes_seconds(field, value):
    here = environment.machine("cpu", "bfloat16", "bitwise")
    other = msgspec.structs.replace(here, **{field: value})
    assert environment.fingerprint(here) != environment.fingerprint(other)
    (said,) = environment.differences(here, other)
    assert said == f"{field}: {getattr(here, field)} -> {value}"
