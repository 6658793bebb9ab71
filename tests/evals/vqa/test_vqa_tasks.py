"""The VQA tasks on small folders of every layout."""

import json

import pytest
from evals.vqa.files import lines, load, parquet, picture, png, task, text
from mmspec_evals.errors import DataError
from mmspec_evals.running.documents import stored
from mmspec_evals.task import Scored
from mmspec_evals.tasks.vqa_sets import BENCHMARKS, EXPLAIN, LETTER, WORD, YES_NO

TAIL = "\nAnswer the question using a single word or phrase."
TEN = [{"answer": "red", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]


def scored(name, docs, said):
    marked = task(name)
    return [
        Scored(doc, (answer,), marked.score((answer,), doc))
        for doc, answer in zip(docs, said, strict=True)
    ]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda b: b.name)
def test_without_files_the_error_says_what_goes_where(benchmark, tmp_path):
    with pytest.raises(DataError, match=f"--data {benchmark.name}=PATH"):
        load(f"vqa/{benchmark.name}", None)
    with pytest.raises(DataError, match=r"put one of them there"):
        load(f"vqa/{benchmark.name}", tmp_path)


def test_llava_layout_keeps_the_official_wording(tmp_path):
    lines(
        tmp_path / "llava_gqa_testdev_balanced.jsonl",
        [
            {"question_id": "201", "image": "n1.jpg", "text": "Is it red?" + TAIL},
            {"question_id": "202", "image": "n1.jpg", "text": "Is it big?" + TAIL},
        ],
    )
    (tmp_path / "testdev_balanced_questions.json").write_text(
        json.dumps(
            {
                "201": {"question": "Is it red?", "answer": "yes", "imageId": "n1"},
                "202": {"question": "Is it big?", "imageId": "n1"},
            }
        )
    )
    picture(tmp_path / "images" / "n1.jpg")
    corpus = load("vqa/gqa", tmp_path)
    first, second = corpus.docs
    assert (corpus.kind, corpus.prompts, corpus.rows) == ("official", "official", 2)
    assert text(first) == "Is it red?" + TAIL
    assert first.turns[0][0].read() == png()
    assert (first.target, second.target) == ("yes", None)
    assert first.cluster == second.cluster == "n1"
    assert "1 of 2 documents have no answer" in corpus.note
    assert task("vqa/gqa").score((" Yes.\n",), first) == {
        "exact_match_ignore_case_punct": 1.0, "gqa_llava": 1.0,
    }  # fmt: skip
    assert task("vqa/gqa").score(("yes",), second) == {}
    assert len(corpus.sha256) == 64


def test_hub_layout_of_vqav2(tmp_path):
    row = {"question_id": 7, "image_id": 42, "question": "What colour?", "answers": TEN}
    parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", [
        row | {"image": {"bytes": png(), "path": None}},
        row | {"question_id": 8, "image": {"bytes": png((0, 0, 9)), "path": None}},
    ])  # fmt: skip
    corpus = load("vqa/vqav2", tmp_path, limit=1)
    (doc,) = corpus.docs
    assert corpus.rows == 2
    assert corpus.prompts == "own"
    assert (doc.id, doc.cluster, text(doc)) == ("7", "42", "What colour?" + WORD)
    assert doc.turns[0][0].read() == png()
    assert task("vqa/vqav2").score(("Red",), doc) == {
        "vqa_accuracy_official": 0.0, "vqav2_lmms_eval": 1.0,
    }  # fmt: skip
    stored(doc)  # it can be kept with a run


def test_questions_and_annotations_of_vqav2_as_downloaded(tmp_path):
    (tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(
        json.dumps({
            "info": {"version": "2.0"},
            "questions": [{"image_id": 42, "question": "What colour?", "question_id": 420}],
        })
    )  # fmt: skip
    (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps({
            "license": {"name": "x"},
            "annotations": [{"question_id": 420, "image_id": 42, "answers": TEN}],
        })
    )  # fmt: skip
    picture(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    (doc,) = load("vqa/vqav2", tmp_path).docs
    assert doc.target == TEN
    assert doc.turns[0][0].read() == png()


def test_textvqa_is_joined_by_picture_and_question(tmp_path):
    lines(
        tmp_path / "llava_textvqa_val_v051_ocr.jsonl",
        [
            {"question_id": "a1", "image": "a1.jpg", "text": f"{q}\nReference OCR token: X{TAIL}"}
            for q in ("what is it?", "who is it?")
        ],
    )
    (tmp_path / "TextVQA_0.5.1_val.json").write_text(
        json.dumps({
            "data": [
                {"image_id": "a1", "question_id": 1, "question": "Who is it?", "answers": ["b"]},
                {"image_id": "a1", "question_id": 2, "question": "What is it?", "answers": ["c"]},
            ]
        })
    )  # fmt: skip
    picture(tmp_path / "train_images" / "a1.jpg")
    docs = load("vqa/textvqa", tmp_path).docs
    assert [doc.target for doc in docs] == [["c"], ["b"]]
    assert [doc.id for doc in docs] == ["a1", "a1#2"]
    assert text(docs[0]).endswith("Reference OCR token: X" + TAIL)


def test_textvqa_questions_are_capitalised_and_thereby_lowered(tmp_path):
    parquet(tmp_path / "validation.parquet", [
        {"question_id": 1, "question": "what does the SIGN say?", "answers": ["stop"] * 10,
         "image": {"bytes": png(), "path": "x.jpg"}},
    ])  # fmt: skip
    (doc,) = load("vqa/textvqa", tmp_path).docs
    assert text(doc) == "What does the sign say?" + WORD
    assert task("vqa/textvqa").score(("Stop.",), doc) == {
        "textvqa_lmms_eval": 1.0, "textvqa_m4c": 1.0,
    }  # fmt: skip


def test_speed_profile_asks_for_explanations_and_marks_nothing(tmp_path):
    lines(
        tmp_path / "gqa.jsonl",
        [{"question_id": 1, "image": "a.png", "text": "Is it red?" + TAIL, "answer": "yes"}],
    )
    picture(tmp_path / "a.png")
    (quick,) = load("vqa/gqa", tmp_path).docs
    corpus = load("vqa/gqa", tmp_path, profile="speed")
    (slow,) = corpus.docs
    assert text(slow) == "Is it red?" + EXPLAIN
    assert slow.fields["max_new_tokens"] == 512
    assert corpus.prompts == "own"
    assert "not marked" in corpus.note
    assert task("gqa").score(("yes",), slow) == {}
    assert "max_new_tokens" not in quick.fields
    assert task("gqa").max_new_tokens == 16


def test_gqa_pictures_of_the_hub_lie_in_a_file_of_their_own(tmp_path):
    parquet(tmp_path / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", [
        {"id": "1", "imageId": "n7", "question": "Is it?", "answer": "no"}
    ])  # fmt: skip
    parquet(tmp_path / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", [
        {"id": "n7", "image": {"bytes": png((1, 2, 3)), "path": "n7.jpg"}}
    ])  # fmt: skip
    (doc,) = load("vqa/gqa", tmp_path).docs
    assert doc.turns[0][0].read() == png((1, 2, 3))
    assert (doc.cluster, doc.target) == ("n7", "no")


def test_scienceqa_from_problems(tmp_path):
    problem = {
        "question": "Which?", "choices": ["tin", "oak"], "answer": 1, "hint": "Trees are wood.",
        "image": "image.png", "split": "test",
    }  # fmt: skip
    problems = {"3": problem, "4": problem | {"image": None}, "5": problem | {"split": "train"}}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    picture(tmp_path / "images" / "test" / "3" / "image.png")
    corpus = load("scienceqa_img", tmp_path)
    (doc,) = corpus.docs
    assert (corpus.rows, doc.id, doc.target) == (1, "3", 1)
    assert "2 rows" in corpus.note
    assert text(doc) == "Trees are wood.\nWhich?\nA. tin\nB. oak" + LETTER
    assert task("sqa").score(("B.",), doc) == {
        "scienceqa_lmms_eval": 1.0, "scienceqa_llava": 0.0,
    }  # fmt: skip


def mme_rows(pictures):
    return [
        {"question_id": f"{category}/{n}.png", "category": category, "answer": answer,
         "question": f"Is it {answer}? Please answer yes or no.",
         "image": {"bytes": png((n, n, n)), "path": f"{n}.png"}}
        for category in ("count", "code_reasoning")
        for n in range(pictures)
        for answer in ("Yes", "No")
    ]  # fmt: skip


def test_mme_pairs_stay_together_and_sum_up(tmp_path):
    parquet(tmp_path / "test.parquet", mme_rows(2))
    corpus = load("mme", tmp_path)
    docs = corpus.docs
    assert len(docs) == 8
    assert text(docs[0]) == "Is it Yes?" + YES_NO
    assert [doc.id for doc in load("mme", tmp_path, limit=3).docs] == [doc.id for doc in docs[:2]]
    said = ["yes", "no", "yes", "yes", "No.", "no", "eyes", "Not sure"]
    rows = scored("mme", docs, said)
    sums = task("mme").aggregate(rows)
    # The first category has 200 and 50 for its pictures, the second 50 and 200.
    assert sums == {"mme_yes_no": 0.75, "mme_perception": 125.0, "mme_cognition": 125.0}
    drawn = [rows[0], rows[1], rows[0], rows[1]]  # a bootstrap may draw one picture twice
    assert task("mme").aggregate(drawn)["mme_perception"] == 200.0
    assert task("mme").aggregate([]) == {}


def test_pope_from_its_own_files(tmp_path):
    for kind in ("adversarial", "random"):
        rows = [
            {"question_id": n, "image": "a.jpg", "text": "Is there a dog?", "label": label}
            for n, label in enumerate(["yes", "no", "no"])
        ]
        lines(tmp_path / f"coco_pope_{kind}.json", rows)
    picture(tmp_path / "val2014" / "a.jpg")
    docs = load("pope", tmp_path).docs
    assert [doc.id for doc in docs] == ["0", "1", "2", "0#2", "1#2", "2#2"]
    assert [doc.fields["category"] for doc in docs[2:4]] == ["adversarial", "random"]
    assert text(docs[0]) == "Is there a dog?" + YES_NO
    sums = task("pope").aggregate(
        scored("pope", docs, ["Yes", "no", "yes", "Nope", "No, none", "yes."])
    )
    assert sums == pytest.approx({
        "pope_lmms_eval": 2 / 6, "pope_llava": 4 / 6, "pope_precision": 2 / 4, "pope_recall": 1.0,
        "pope_f1": 2 / 3, "pope_yes_ratio": 4 / 6,
    })  # fmt: skip


def test_chartqa_halves(tmp_path):
    for stem in ("human", "augmented"):
        rows = [{"imgname": "1.png", "query": "How many?", "label": "14"}]
        (tmp_path / f"test_{stem}.json").write_text(json.dumps(rows))
    picture(tmp_path / "png" / "1.png")
    human, made = load("chartqa", tmp_path).docs
    assert task("chartqa").score(("14.5",), human) == {"chartqa_relaxed": 1.0, "chartqa_human": 1.0}
    assert "chartqa_augmented" in task("chartqa").score(("14.5",), made)


def test_docvqa_seedbench_and_hallusionbench(tmp_path):
    (tmp_path / "val_v1.0_withQT.json").write_text(
        json.dumps({"dataset_name": "x", "data": [
            {"questionId": 1, "question": "Name?", "image": "documents/d.png", "docId": 5,
             "answers": ["Ann", "Anne"]}]})
    )  # fmt: skip
    picture(tmp_path / "documents" / "d.png")
    (doc,) = load("docvqa", tmp_path).docs
    assert (doc.cluster, task("docvqa").score(("anne",), doc)) == ("5", {"anls": 1.0})

    row = {"question": "Which?", "answer": "B", "data_id": "s.png", "question_type_id": 1}
    choices = {f"choice_{letter}": letter * 2 for letter in "abcd"}
    (tmp_path / "SEED-Bench.json").write_text(json.dumps({"questions": [
        row | choices | {"question_id": "1", "data_type": "image"},
        row | choices | {"question_id": "2", "data_type": "video"},
    ], "question_type": {"x": 1}}))  # fmt: skip
    picture(tmp_path / "SEED-Bench-image" / "s.png")
    (doc,) = load("seedbench", tmp_path).docs
    assert text(doc) == "Which?\nA. aa\nB. bb\nC. cc\nD. dd" + LETTER
    assert task("seed").score(("B. bb",), doc) == {
        "seedbench_lmms_eval": 1.0, "seedbench_llava": 0.0,
    }  # fmt: skip

    row = {"category": "VD", "subcategory": "chart", "set_id": "0", "question": "Is it?",
           "filename": "./hallusion_bench/h.png", "visual_input": "1"}  # fmt: skip
    rows = [
        row | {"question_id": q, "figure_id": f, "gt_answer": a}
        for q, f, a in [("0", "0", "1"), ("0", "1", "0"), ("1", "0", "0"), ("1", "1", "0")]
    ]
    rows[1] |= {"visual_input": "0", "filename": None}
    (tmp_path / "HallusionBench.json").write_text(json.dumps(rows))
    picture(tmp_path / "hallusion_bench" / "h.png")
    docs = load("hallusionbench", tmp_path).docs
    assert [len(doc.turns[0]) for doc in docs] == [2, 1, 2, 2]
    marked = scored("hallusionbench", docs, ["yes", "no", "yes", "no"])
    assert task("hallusionbench").aggregate(marked) == {"aAcc": 0.75, "qAcc": 0.5, "fAcc": 0.5}
    assert task("hallusionbench").aggregate(marked * 3)["qAcc"] == 0.5


def test_mmvet_has_only_an_overlap(tmp_path):
    (tmp_path / "mm-vet.json").write_text(
        json.dumps({"v1_0": {"imagename": "v1_0.png", "question": "What?", "answer": "a red dog",
                             "capability": ["rec"]}})
    )  # fmt: skip
    picture(tmp_path / "images" / "v1_0.png")
    corpus = load("mmvet", tmp_path, profile="speed")
    (doc,) = corpus.docs
    assert text(doc) == "What?"
    assert "needs a judge" in corpus.note
    assert task("mmvet").score(("a red dog",), doc) == {"reference_overlap": 1.0}


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "images/../../secret.png"])
def test_a_picture_outside_the_data_folder_is_refused(tmp_path, path):
    picture(tmp_path / "secret.png")
    folder = tmp_path / "gqa"
    lines(folder / "gqa.jsonl", [{"question_id": 1, "image": path, "text": "?", "answer": "no"}])
    with pytest.raises(DataError, match="leaves the data folder"):
        load("gqa", folder)


def test_a_missing_picture_says_where_it_belongs(tmp_path):
    lines(tmp_path / "gqa.jsonl", [{"question_id": 1, "image": "no.jpg", "question": "?"}])
    with pytest.raises(DataError, match=r"'no\.jpg' is missing; put it into .*images"):
        load("gqa", tmp_path)


def test_a_folder_of_all_benchmarks(tmp_path):
    lines(tmp_path / "gqa" / "gqa.jsonl", [{"question_id": 1, "question": "?", "answer": "no"}])
    (doc,) = load("gqa", tmp_path).docs
    assert doc.target == "no"
