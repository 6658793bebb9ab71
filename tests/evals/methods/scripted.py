"""A server that says what a test wrote down, byte by byte."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CARD = {"id": "m", "owned_by": "somebody"}


def event(said) -> bytes:
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


def chunk(text="", reason=None, **more) -> bytes:
    return event({"choices": [{"delta": {"content": text}, "finish_reason": reason}], **more})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})
DONE = b"data: [DONE]\n\n"


class Script:
    """What to answer, and the bodies that were asked."""

    def __init__(self):
        self.cards = [CARD]
        self.status = 200
        self.parts = [chunk("Hello", "stop"), USAGE, DONE]
        self.whole = True  # whether the stream ends as HTTP wants it
        self.asked = []
        self.url = ""


@contextlib.contextmanager
def scripted():
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            body = json.dumps({"data": script.cards}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            script.asked.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(script.status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in script.parts:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
            if script.whole:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
