"""The judge against a small HTTP server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from mmspec_evals.cli import main
from mmspec_evals.doc import Doc, Text
from mmspec_evals.judge import reviews, wording
from mmspec_evals.judge.endpoint import Judge, JudgeError
from mmspec_evals.judge.session import review, summary
from mmspec_evals.running.documents import stored, write_docs
from mmspec_evals.running.layout import Layout
from mmspec_evals.trace import Sample, Seconds, Trace

TASK = "llava_bench/wild"
SAID = {"0": "a kite", "1": "wind", "2": "nothing"}


class Server:
    """Replies by a function of the message; a reply that is a number is a status."""

    def __init__(self):
        self.replies, self.bodies, self.keys = {}, [], []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.bodies.append((self.path, body))
                owner.keys.append(self.headers.get("Authorization"))
                reply = owner.reply(body["messages"][1]["content"])
                status = reply if isinstance(reply, int) else 200
                told = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
                data = json.dumps(told if status == 200 else {"error": "no"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def reply(self, text):
        found = next(told for said, told in self.replies.items() if f"\n{said}\n===" in text)
        return found.pop(0) if isinstance(found, list) else found


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def sample(method, doc_id, answer, error=None):
    trace = Trace(text=answer, tokens=1, finish_reason="stop", seconds=Seconds(total=1.0))
    return Sample(
        key=f"{method}-{doc_id}", task=TASK, task_version=1, method=method, repeat=0, order=0,
        doc_id=doc_id, doc_sha="", cluster=doc_id, traces=[trace],
        answers=[] if error else [answer], error=error,
    )  # fmt: skip


def write(run, method, samples):
    file = Layout(run).samples(TASK, method, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in samples))


@pytest.fixture
def run(tmp_path):
    docs = [
        Doc(
            id=str(n),
            turns=((Text("What?"),),),
            target=f"reference {n}",
            cluster=str(n),
            fields={"category": category, "question": "What?", "context": "a sky"},
        )
        for n, category in enumerate(["conv", "conv", "complex"])
    ]
    write_docs(tmp_path, TASK, [(doc, stored(doc)) for doc in docs])
    write(tmp_path, "vanilla", [sample("vanilla", n, said) for n, said in SAID.items()])
    return tmp_path


def judge(server, **more):
    return Judge(server.url, "grader", pause=0.0, **more)


def test_reviews_are_kept_summed_and_not_asked_for_twice(run, server):
    server.replies = {"a kite": "8 6\nfine", "wind": "10 9", "nothing": "6, 3"}
    made = list(review(run, TASK, "vanilla", judge(server, key="secret")))
    assert [(one.question_id, one.failed) for one in made] == [
        ("0", False), ("1", False), ("2", True),
    ]  # fmt: skip
    path, body = server.bodies[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("grader", 0.2, 1024)
    for part in ("a sky", "What?", "reference 0", "a kite"):
        assert part in body["messages"][1]["content"]
    assert server.keys[0] == "Bearer secret"
    kept = (run / "judge" / "llava_bench__wild.vanilla.jsonl").read_text()
    assert kept.count("\n") == 3
    assert "secret" not in kept

    lines = {line.category: line for line in summary(run, TASK, "vanilla", "grader")}
    # The failed review is counted and does not pull the means down: (6 + 9) / (8 + 10).
    assert (lines["all"].n, lines["all"].failed) == (2, 1)
    assert lines["all"].headline == pytest.approx(100 * 15 / 18)
    assert lines["conv"].headline == lines["all"].headline
    assert (lines["complex"].n, lines["complex"].failed, lines["complex"].headline) == (0, 1, None)

    server.replies["nothing"] = "6 3"
    again = list(review(run, TASK, "vanilla", judge(server)))
    assert [one.question_id for one in again] == ["2"]
    assert len(server.bodies) == 4
    assert summary(run, TASK, "vanilla", "grader")[0].headline == pytest.approx(100 * 18 / 24)


def test_equal_answers_of_another_method_share_a_review(run, server):
    server.replies = dict.fromkeys(SAID.values(), "8 8") | {"a dragon": "8 2"}
    list(review(run, TASK, "vanilla", judge(server)))
    write(run, "mmspec", [sample("mmspec", "0", "a kite"), sample("mmspec", "1", "a dragon")])
    made = list(review(run, TASK, "mmspec", judge(server)))
    assert len(server.bodies) == 4
    assert [one.candidate for one in made] == [8.0, 2.0]
    everything = summary(run, TASK, "mmspec", "grader")[0]
    assert (everything.n, everything.failed) == (2, 1)  # the third question was never answered


def test_a_changed_answer_is_judged_anew(run, server):
    server.replies = dict.fromkeys(SAID.values(), "8 8") | {"a dragon": "8 2"}
    list(review(run, TASK, "vanilla", judge(server)))
    samples = [sample("vanilla", n, said) for n, said in SAID.items()]
    failed = sample("vanilla", "1", "", error="oom")
    write(run, "vanilla", [*samples, sample("vanilla", "0", "a dragon"), failed])
    assert [one.question_id for one in review(run, TASK, "vanilla", judge(server))] == ["0"]
    assert summary(run, TASK, "vanilla", "grader")[0].candidate == pytest.approx(6.0)
    assert summary(run, TASK, "vanilla", "another judge")[0].n == 0


def test_a_line_cut_short_by_a_crash_is_made_again(run, server):
    server.replies = dict.fromkeys(SAID.values(), "8 8")
    list(review(run, TASK, "vanilla", judge(server)))
    file = reviews.path(run, TASK, "vanilla")
    file.write_bytes(file.read_bytes()[:-20])
    assert [one.question_id for one in review(run, TASK, "vanilla", judge(server))] == ["2"]
    assert len(reviews.read(file)) == 3


def test_busy_servers_are_asked_again_and_refusals_are_not(server):
    server.replies = {"x": [503, 429, "8 8"], "y": [503, 503, 503, "8 8"], "z": [401, "8 8"]}
    assert judge(server).ask("s", "\nx\n===") == "8 8"
    with pytest.raises(JudgeError, match="status 503"):
        judge(server).ask("s", "\ny\n===")
    with pytest.raises(JudgeError, match="status 401"):
        judge(server).ask("s", "\nz\n===")
    assert len(server.bodies) == 7
    nobody = Judge("http://127.0.0.1:9/v1", "grader", pause=0.0)
    with pytest.raises(JudgeError, match="ConnectError"):
        nobody.ask("s", "x")


@pytest.mark.parametrize(
    ("task", "reply", "grades"),
    [
        (TASK, "8 7\nwell", (8.0, 7.0)),
        (TASK, "8 7 ", None),
        (TASK, "80 7", None),
        (TASK, "nan 7", None),
        (TASK, "good", None),
        ("vqa/mmvet", "0.5\n", (1.0, 0.5)),
        ("vqa/mmvet", "7", None),
        ("vqa/mmvet", "half", None),
    ],
)
def test_grades(task, reply, grades):
    assert wording.grades(task, reply) == grades


def test_the_command(run, server, capsys, monkeypatch):
    server.replies = {"a kite": "8 6", "wind": "10 9", "nothing": "7 ?"}
    monkeypatch.setenv("GRADER_KEY", "secret")
    write(run, "vanilla.last", [sample("vanilla.last", "0", "a kite")])  # measured twice, said once
    command = ["judge", str(run), "--url", server.url, "--model", "grader"]
    assert main([*command, "--key-env", "GRADER_KEY"]) == 3
    printed = capsys.readouterr()
    assert "| llava_bench/wild | vanilla | all | 2 | 1 | 9.00 | 7.50 | 83.33 |" in printed.out
    assert "2: no grades in the reply" in printed.err
    assert "vanilla.last" not in printed.out
    server.replies["nothing"] = "8 8"
    assert main(command) == 0
    assert main([*command, "--methods", "nothing"]) == 2
    assert main([*command, "--key-env", "NOT_SET_ANYWHERE"]) == 2
    assert main(["judge", str(run / "docs"), "--url", server.url, "--model", "grader"]) == 2
    assert "secret" not in "".join(capsys.readouterr())
