"""The VQA benchmarks: files they come in, what is asked for, how answers are marked.

File names are those of LLaVA's evaluation folder, of the benchmarks' own downloads, and of the
splits of the copies on the Hugging Face hub, any of which may lie in the data folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmspec_evals.task import Metric
from mmspec_evals.tasks import vqa_marks as marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec_evals.task import Scored

WORD = "\nReply with one word or a short phrase."
LETTER = "\nReply with the letter of the right option and nothing else."
YES_NO = "\nReply with yes or no."
UNSEEN = '\nIf the picture does not show enough to tell, reply with "Unanswerable".'
EXPLAIN = (
    "\nDescribe what in the picture matters for this, reason about it step by step in full "
    "sentences, and then give your answer."
)
_SPLITS = ("test", "validation", "val")


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One row of the table.

    Attributes:
        name: of the task, after ``vqa/``, and of ``--data``. files, parts, mapping, annotations,
            shown: how ``vqa_rows.read`` finds its rows. folders: where pictures may lie.
        tail: what our own short prompt ends in. metrics: the headline first. mark: scores of one
            answer. sums: of all; None takes means. tokens: cap of a short answer.
        answers: columns that may hold the reference, the first one there counts.
        named: name of a row's picture, where the row has only its number.
        whole: rows of one picture are taken together or not at all.
    """

    name: str
    files: tuple[str, ...]
    tail: str
    metrics: tuple[Metric, ...]
    mark: marks.Mark
    sums: Callable[[list[Scored]], Mapping[str, float]] | None = None
    tokens: int = 16
    answers: tuple[str, ...] = ("answer", "label", "answers")
    annotations: tuple[str, ...] = ("annotations", "answers")
    parts: tuple[tuple[str, str], ...] = ()
    mapping: str = ""
    shown: tuple[str, ...] = ()
    folders: tuple[str, ...] = ("images",)
    named: str = ""
    whole: bool = False
    aliases: tuple[str, ...] = ()


def _named(*names: str) -> tuple[Metric, ...]:
    return tuple(Metric(name) for name in names)


BENCHMARKS = (
    Benchmark(
        name="vqav2",
        files=("vqav2", "v2_OpenEnded_mscoco_val2014_questions", "questions", *_SPLITS),
        annotations=("v2_mscoco_val2014_annotations", "annotations", "answers"),
        folders=("images", "val2014"),
        named="COCO_val2014_{image_id:012d}.jpg",
        tail=WORD,
        metrics=_named("vqa_accuracy_official", "vqav2_lmms_eval"),
        mark=marks.vqav2,
        answers=("answers",),
        aliases=("vqav2", "vqav2_val"),
    ),
    Benchmark(
        name="okvqa",
        files=("okvqa", "OpenEnded_mscoco_val2014_questions", "questions", "val2014", *_SPLITS),
        annotations=("mscoco_val2014_annotations", "annotations", "answers"),
        folders=("images", "val2014"),
        named="COCO_val2014_{image_id:012d}.jpg",
        tail=WORD,
        metrics=_named("vqa_accuracy_official", "okvqa_lmms_eval"),
        mark=marks.okvqa,
        answers=("answers",),
        aliases=("ok_vqa", "okvqa", "ok_vqa_val2014"),
    ),
    Benchmark(
        name="textvqa",
        files=(
            "llava_textvqa_val_v051_ocr", "textvqa", "TextVQA_0.5.1_val", "questions",
            "validation", "val", "test",
        ),
        annotations=("TextVQA_0.5.1_val", "annotations", "answers"),
        folders=("images", "train_images"),
        named="{image_id}.jpg",
        tail=WORD,
        metrics=_named("textvqa_lmms_eval", "textvqa_m4c"),
        mark=marks.textvqa,
        answers=("answers",),
        aliases=("textvqa", "textvqa_val"),
    ),
    Benchmark(
        name="vizwiz",
        files=("vizwiz", "llava_test", "val", "questions", "validation", "test"),
        folders=("images", "val", "test"),
        tail=UNSEEN + WORD,
        metrics=_named("vizwiz_lmms_eval"),
        mark=marks.vizwiz,
        answers=("answers",),
        aliases=("vizwiz_vqa", "vizwiz_vqa_val"),
    ),
    Benchmark(
        name="gqa",
        files=(
            "llava_gqa_testdev_balanced", "gqa", "testdev_balanced_instructions", "questions",
            "testdev", *_SPLITS,
        ),
        annotations=("testdev_balanced_questions", "annotations", "answers"),
        mapping="testdev_balanced_questions",
        shown=("testdev_balanced_images",),
        named="{imageId}.jpg",
        tail=WORD,
        metrics=_named("exact_match_ignore_case_punct", "gqa_llava"),
        mark=marks.gqa,
        aliases=("gqa",),
    ),
    Benchmark(
        name="scienceqa",
        files=("scienceqa", "ScienceQA-IMG", "questions", *_SPLITS),
        mapping="problems",
        folders=("images", "images/test", "test"),
        tail=LETTER,
        metrics=_named("scienceqa_lmms_eval", "scienceqa_llava"),
        mark=marks.scienceqa,
        aliases=("scienceqa_img", "scienceqa", "sqa"),
    ),
    Benchmark(
        name="mme",
        files=("mme", "llava_mme", "questions", "test"),
        folders=("images", "MME_Benchmark_release_version"),
        tail=YES_NO,
        metrics=(
            Metric("mme_perception", percent=False),
            Metric("mme_cognition", percent=False),
            Metric("mme_yes_no"),
        ),
        mark=marks.mme,
        sums=marks.mme_sums,
        whole=True,
        aliases=("mme",),
    ),
    Benchmark(
        name="pope",
        files=("pope", "llava_pope_test", "questions", "test"),
        parts=tuple((f"coco_pope_{kind}", kind) for kind in ("adversarial", "popular", "random")),
        folders=("images", "val2014"),
        tail=YES_NO,
        metrics=(
            *_named("pope_lmms_eval", "pope_llava", "pope_f1", "pope_precision", "pope_recall"),
            Metric("pope_yes_ratio"),
        ),
        mark=marks.pope,
        sums=marks.pope_sums,
        aliases=("pope",),
    ),
    Benchmark(
        name="chartqa",
        files=("chartqa", "questions", "test", "val"),
        parts=(("test_human", "human"), ("test_augmented", "augmented")),
        folders=("images", "png"),
        tail=WORD,
        metrics=_named("chartqa_relaxed", "chartqa_human", "chartqa_augmented"),
        mark=marks.chartqa,
        aliases=("chartqa",),
    ),
    Benchmark(
        name="docvqa",
        files=("docvqa", "val_v1.0_withQT", "val_v1.0", "questions", "validation", "val", "test"),
        tail=WORD,
        metrics=_named("anls"),
        mark=marks.docvqa,
        tokens=32,
        answers=("answers",),
        aliases=("docvqa", "docvqa_val"),
    ),
    Benchmark(
        name="seedbench",
        files=("SEED-Bench", "seedbench", "questions", *_SPLITS),
        folders=("images", "SEED-Bench-image"),
        tail=LETTER,
        metrics=_named("seedbench_lmms_eval", "seedbench_llava"),
        mark=marks.seedbench,
        aliases=("seedbench", "seed"),
    ),
    Benchmark(
        name="hallusionbench",
        files=("HallusionBench", "hallusionbench", "image", "questions", *_SPLITS),
        folders=("images", "hallusion_bench"),
        tail=YES_NO,
        metrics=_named("aAcc", "qAcc", "fAcc"),
        mark=marks.hallusionbench,
        sums=marks.hallusion_sums,
        answers=("gt_answer",),
        aliases=("hallusion_bench_image", "hallusionbench"),
    ),
    Benchmark(
        name="mmvet",
        files=("mmvet", "llava-mm-vet", "questions", "test"),
        annotations=("mm-vet", "annotations", "answers"),
        mapping="mm-vet",
        tail="",
        metrics=_named("reference_overlap"),
        mark=marks.overlap,
        tokens=1024,
        aliases=("mmvet", "mm_vet"),
    ),
    Benchmark(
        name="coco_cap",
        files=("coco_cap", "captions_val2014", "questions", "val", "test", "validation"),
        folders=("images", "val2014"),
        tail="",
        metrics=_named("reference_overlap"),
        mark=marks.overlap,
        tokens=64,
        aliases=("coco2014_cap_val", "coco_cap"),
    ),
)  # fmt: skip


def reference(benchmark: Benchmark, row: Mapping[str, Any]) -> Any:
    """The row's reference as the benchmark's marks take it; None where the file has none."""
    value = next((row[name] for name in benchmark.answers if row.get(name) is not None), None)
    if value is None or (isinstance(value, str) and value.strip().lower() == "hidden"):
        return None
    several = benchmark.mark in (
        marks.vqav2, marks.okvqa, marks.textvqa, marks.vizwiz, marks.docvqa, marks.overlap,
    )  # fmt: skip
    if several:
        return (value if isinstance(value, list) else [value]) or None
    if isinstance(value, list):
        value = value[0] if value else None
    if benchmark.mark in (marks.mme, marks.pope):
        value = str(value).lower().strip().removesuffix(".")
        return value if value in ("yes", "no") else None
    if benchmark.mark is marks.scienceqa and not isinstance(value, int):
        return "ABCDE".find(str(value).strip().upper()) if value else None
    return value if benchmark.mark is marks.scienceqa else str(value)
