"""What flags and files come to, under our names and lm-eval's."""

import argparse

import pytest
from mmspec_evals.cli import run
from mmspec_evals.errors import PlanError
from mmspec_evals.running.lm_eval import translated
from mmspec_evals.running.settings import Settings, methods, settle

LEAST = {"tasks": "a,b/c", "out": "x"}


def parsed(*argv):
    parser = argparse.ArgumentParser()
    run.options(parser)
    return parser.parse_args(argv)


def asked(*argv):
    names = {name.replace("-", "_") for name, _ in run._SWITCHES}
    given = translated({k: v for k, v in vars(parsed(*argv)).items() if k not in names})
    return settle(given, given.pop("config", None))


def test_every_flag_is_a_setting_and_every_setting_has_a_flag():
    parser = argparse.ArgumentParser()
    run.options(parser)
    flags = {action.dest for action in parser._actions} - {"help", "config"}
    switches = {name.replace("-", "_") for name, _ in run._SWITCHES}
    apart = switches | {"model_args", "gen_kwargs", "batch_size"}
    assert flags - apart == set(Settings.__struct_fields__)


def test_values_are_read_as_typed():
    found = asked(
        "--tasks", "a, b/c", "--out", "x", "--data", "ib=/d/IB,gqa=/g", "--limit", "0.1",
        "--tokens", "512,4k", "--max-new-tokens", "7", "--ignore-eos", "--dtype", "bf16",
        "--methods", "mmspec:retrieval.suffix,nodes=8,vanilla,openai:http://h:1/v1#m",
    )  # fmt: skip
    assert found.tasks == ["a", "b/c"]
    assert found.data == {"ib": "/d/IB", "gqa": "/g"}
    assert (found.limit, found.tokens) == (0.1, [512, 4096])
    assert (found.max_new_tokens, found.ignore_eos, found.dtype) == (7, True, "bfloat16")
    assert found.methods == [
        "mmspec:retrieval.suffix,nodes=8", "vanilla", "openai:http://h:1/v1#m",
    ]  # fmt: skip
    assert asked("--tasks", "a", "--out", "x", "--ignore-eos", "false").ignore_eos is False
    assert asked("--tasks", "a", "--out", "x", "--max-new-tokens", "task").max_new_tokens is None
    assert asked("--tasks", "a", "--out", "x", "--limit", "20").limit == 20


def test_method_names_keep_their_own_commas():
    names = ["mmspec:retrieval.suffix,retrieval.recycling,depth=4", "pld", "mmspec:nodes=4"]
    assert methods(",".join(names)) == names


def test_flags_win_over_a_file_and_a_file_over_defaults(tmp_path):
    for name, text in (
        ("plan.toml", 'tasks = ["a"]\nout = "x"\nrepeats = 3\nmax-new-tokens = 9\nseed = 5\n'),
        ("plan.yaml", "tasks: a\nout: x\nrepeats: 3\nmax-new-tokens: 9\nseed: 5\n"),
    ):
        (tmp_path / name).write_text(text)
        found = asked("--config", str(tmp_path / name), "--seed", "1")
        assert (found.tasks, found.repeats, found.max_new_tokens, found.seed) == (["a"], 3, 9, 1)
        assert found.temperature == 0.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tasks": ""}, "missing: --tasks"),
        ({"limit": "0"}, "--limit"),
        ({"limit": "few"}, "--limit"),
        ({"repeats": 0}, "--repeats must be at least 1"),
        ({"tokens": "4q"}, "4q"),
        ({"data": "ib"}, "NAME=VALUE"),
        ({"max_new_tokens": "all"}, "--max-new-tokens"),
        ({"dtype": "int8"}, "dtype"),
        ({"top_p": 0.0}, "--top-p"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values, said):
    with pytest.raises(PlanError, match=said):
        settle({**LEAST, **values}, None)


def test_text_is_read_as_the_setting_it_is_for_and_nothing_else():
    told = settle(
        {**LEAST, "seed": "7", "threads": "none", "top_p": "0.5", "ignore_eos": "True"}, None
    )
    assert (told.seed, told.threads, told.top_p, told.ignore_eos) == (7, None, 0.5, True)
    for name, text in (("seed", "1.5"), ("top_p", "much"), ("ignore_eos", "maybe")):
        with pytest.raises(PlanError, match=name):
            settle({**LEAST, name: text}, None)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PlanError, match="gone"):
        settle(LEAST, tmp_path / "gone.toml")
    for name, text in (("bad.toml", "= 3"), ("bad.yaml", "a: [1"), ("list.yaml", "- 1")):
        (tmp_path / name).write_text(text)
        with pytest.raises(PlanError, match=name):
            settle(LEAST, tmp_path / name)


def test_lm_evals_spellings_mean_the_same():
    found = asked(
        "--model", "hf", "--model_args", "pretrained=/m/llava,dtype=bfloat16,max_length=4096",
        "--tasks", "a", "--output_path", "runs/x", "--batch_size", "1", "--log_samples",
        "--limit", "0.5", "--gen_kwargs", "do_sample=true,top_p=0.9,max_gen_toks=32",
    )  # fmt: skip
    assert (found.model, found.dtype, found.max_context) == ("/m/llava", "bfloat16", 4096)
    assert (found.temperature, found.top_p, found.max_new_tokens) == (1.0, 0.9, 32)
    assert found.out == "runs/x"
    greedy = asked("--tasks", "a", "--out", "x", "--gen_kwargs", "do_sample=False,temperature=0.7")
    assert greedy.temperature == 0.0
    own = asked(
        "--tasks", "a", "--out", "x", "--model_args", "path=m,dtype=float32", "--model", "n"
    )
    assert (own.model, own.dtype) == ("n", "float32")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--batch_size", "8"), "batch_size 8"),
        (("--model_args", "path=m,load_in_8bit=True"), "load_in_8bit"),
        (("--gen_kwargs", "until=x"), "until"),
    ],
)
def test_what_lm_eval_can_and_we_cannot_is_refused(argv, said):
    with pytest.raises(PlanError, match=said):
        asked("--tasks", "a", "--out", "x", *argv)
