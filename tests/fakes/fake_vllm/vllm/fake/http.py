"""The routes orch and people use: /health, /metrics, /v1/models, /v1/completions, /v1/chat/completions."""

import json
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{name}"}} {running}.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="{name}"}} 0.0
# HELP vllm:engine_sleep_state Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake.
# TYPE vllm:engine_sleep_state gauge
vllm:engine_sleep_state{{engine="0",model_name="{name}",sleep_state="awake"}} 1.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="{name}"}} 0.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="{name}"}} {prompt}.0
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="{name}"}} {generated}.0
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{name}"}} {finished}.0
# HELP http_requests_total Total number of requests by method, status and handler.
# TYPE http_requests_total counter
http_requests_total{{handler="/v1/chat/completions",method="POST",status="2xx"}} {finished}.0
"""
PROMPT, STEP = 7, 2  # tokens of every prompt, and of every round of a request that waits


class Server(ThreadingHTTPServer):
    """Holds the port from the start; ``ready`` turns /health from 503 to 200."""

    daemon_threads = True

    def __init__(self, args: Namespace, keys: frozenset[str]) -> None:
        super().__init__((args.host or "0.0.0.0", args.port), Handler, bind_and_activate=False)
        self.args = args
        self.keys = keys
        self.names: list[str] = args.served_model_name or [args.model]
        self.ready = threading.Event()
        self.running = 0
        self.finished = 0
        self.prompt = 0
        self.generated = 0
        self._count = threading.Lock()
        self._loop = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.server_bind()
        if not args.fake_late_listen:
            self.open()

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)

    def open(self) -> None:
        self.server_activate()
        self._loop.start()

    def become_ready(self) -> None:
        self.ready.set()
        if not self._loop.is_alive():
            self.open()

    def drain(self, seconds: float) -> None:
        """Refuses new connections, waits for what is running."""
        if self._loop.is_alive():
            self.shutdown()
        self.socket.close()
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def hung(self) -> bool:
        file: Path | None = self.args.fake_hang_file
        return file is not None and file.exists()

    def moves(self, tokens: int) -> None:
        with self._count:
            self.generated += tokens

    @contextmanager
    def request(self) -> Iterator[None]:
        """As the real one: of what comes while the engine hangs, the counters never hear."""
        while self.hung:
            time.sleep(0.01)
        with self._count:
            self.running += 1
            self.prompt += PROMPT
        try:
            yield
        finally:
            with self._count:
                self.running -= 1
                self.finished += 1


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = {"/health": self.health, "/metrics": self.metrics, "/v1/models": self.models}.get(path)
        self.guarded(answer or self.missing)

    def do_POST(self) -> None:
        answer = {"/v1/chat/completions": self.chat, "/v1/completions": self.complete}.get(self.path)
        self.guarded(answer or self.missing)

    def guarded(self, answer: Any) -> None:
        """As vLLM does: the key guards /v1 and nothing else."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path.startswith("/v1") and self.server.keys and token not in self.server.keys:
            self.reply(401, {"error": "Unauthorized"})
        elif not self.server.ready.is_set():
            self.reply(503)
        else:
            answer()

    def health(self) -> None:
        self.reply(200)

    def missing(self) -> None:
        self.reply(404, {"detail": "Not Found"})

    def metrics(self) -> None:
        server = self.server
        names = ("running", "finished", "prompt", "generated")
        self.reply(200, METRICS.format(name=server.names[0], **{name: getattr(server, name) for name in names}))

    def models(self) -> None:
        if self.server.args.fake_hang_health:
            threading.Event().wait()
        root, longest = self.server.args.model, self.server.args.max_model_len
        card = {"object": "model", "owned_by": "vllm", "root": root, "parent": None, "max_model_len": longest}
        self.reply(200, {"object": "list", "data": [{"id": name, **card} for name in self.server.names]})

    def chat(self) -> None:
        self.generate(echo)

    def complete(self) -> None:
        self.generate(completion)

    def generate(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Answers, token by token, once the file named by ``fake_wait_for`` in the request exists."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if asked.get("model") not in self.server.names:
            message = f"The model `{asked.get('model')}` does not exist."
            self.reply(404, {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}})
            return
        with self.server.request():
            while self.server.hung or ("fake_wait_for" in asked and not Path(asked["fake_wait_for"]).exists()):
                self.server.moves(0 if self.server.hung else STEP)
                time.sleep(0.01)
            self.server.moves(STEP)
            self.reply(200, answer(asked))

    def reply(self, status: int, body: Any = "") -> None:
        kind, text = ("text/plain", body) if isinstance(body, str) else ("application/json", json.dumps(body))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: probes would bury the lines a test looks for."""


def echo(asked: dict[str, Any]) -> dict[str, Any]:
    """The last message."""
    message = {"role": "assistant", "content": asked["messages"][-1]["content"]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chatcmpl-fake", "object": "chat.completion"} | whole(asked, choice)


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "text": asked["prompt"], "finish_reason": "length"}
    return {"id": "cmpl-fake", "object": "text_completion"} | whole(asked, choice)


def whole(asked: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"created": int(time.time()), "model": asked["model"], "choices": [choice], "usage": usage}
