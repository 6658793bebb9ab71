"""A server that does as a prompt tells it: slow, broken, rude or well-behaved."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stub(BaseHTTPRequestHandler):
    """``!fail`` answers 503, ``!cut`` hangs up half way, ``!mid`` reports an error in the stream,
    ``!junk`` sends no JSON, ``!mute`` tells no usage, ``!silent`` says nothing before its end.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/v1/models":
            self._whole(200, {"data": [{"id": "stub", "root": "stub"}]})
        else:
            self._whole(404, {"error": {"message": "nothing here"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.open += 1
            self.server.most = max(self.server.most, self.server.open)
            self.server.bodies.append(body)
        try:
            self._answer(body)
        finally:
            with self.server.lock:
                self.server.open -= 1

    def _answer(self, body):
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        if "!fail" in prompt:
            return self._whole(503, {"error": {"message": "too busy"}})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b": a comment\n\n")
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        time.sleep(self.server.delay)
        for index in range(0, limit, 2):  # two tokens a chunk
            said = "" if "!silent" in prompt else f"w{index} "
            choice = {"delta": {"content": said}} if chat else {"text": said}
            self._event({"choices": [{**choice, "finish_reason": None}]})
            if index == 2 and "!cut" in prompt:
                return None
            if index == 2 and "!mid" in prompt:
                self._event({"error": {"message": "lost my mind"}})
                return None
            if index == 2 and "!junk" in prompt:
                self.wfile.write(b"data: {]\n\n")
            time.sleep(self.server.delay)
        self._event({"choices": [{"delta": {}, "finish_reason": "length"}]})
        if "!mute" not in prompt:
            usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": limit}
            self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        return None

    def _event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _whole(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Nobody listens."""


@contextlib.contextmanager
def stubbed(delay=0.0):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.lock, server.open, server.most, server.bodies = threading.Lock(), 0, 0, []
    server.delay, server.daemon_threads = delay, True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
