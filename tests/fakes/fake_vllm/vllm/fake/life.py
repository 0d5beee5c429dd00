"""From start to exit: fail early, become ready, drain on TERM, and never outlive a test run."""

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace

from vllm.fake import log
from vllm.fake.http import Server

LIFETIME = 600  # seconds after which everything here ends by itself, whatever became of the test
TICK = 0.01
CHILD = f"import time; time.sleep({LIFETIME})"


def serve(args: Namespace) -> None:
    signal.alarm(LIFETIME)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if args.fake_ignore_term else lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    log.opening(args)
    if (args.max_model_len or 0) > log.LONGEST:
        log.write(log.too_long(args))
        sys.exit(1)
    sys.exit(Life(args, stopping).run())


class Life:
    def __init__(self, args: Namespace, stopping: threading.Event) -> None:
        self.args = args
        self.stopping = stopping
        self.began = time.monotonic()
        self.children = [spawn_child(args) for _ in range(args.fake_children)]
        key = os.environ.get("VLLM_API_KEY")
        self.server = Server(args, frozenset([*(args.api_key or ()), *([key] if key else ())]))

    def run(self) -> int:
        while not self.stopping.wait(TICK):
            if self.dies():
                return self.die()
            if self.wakes():
                self.wake()
        return self.drain()

    def since(self, seconds: float) -> bool:
        return time.monotonic() - self.began >= seconds

    def dies(self) -> bool:
        args = self.args
        if args.fake_exit_when:
            return args.fake_exit_when.exists()
        return self.fated() and self.since(args.fake_exit_after or 0)

    def fated(self) -> bool:
        """To exit before it is ready, whatever else was asked for."""
        args = self.args
        return not args.fake_exit_when and (args.fake_exit_code is not None or args.fake_exit_after is not None)

    def wakes(self) -> bool:
        args = self.args
        waits = args.fake_never_ready or self.fated() or self.server.ready.is_set()
        exists = args.fake_wait_for is None or args.fake_wait_for.exists()
        return not waits and exists and self.since(args.fake_ready_after)

    def wake(self) -> None:
        log.progress()
        log.info(f"Starting vLLM server on http://{self.args.host or '0.0.0.0'}:{self.args.port}", "entry.py:140")
        self.server.become_ready()
        log.write("INFO:     Application startup complete.\n")

    def die(self) -> int:
        """A crash: the children stay behind."""
        log.write("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n")
        return 1 if self.args.fake_exit_code is None else int(self.args.fake_exit_code)

    def drain(self) -> int:
        log.info("[shutdown] API server: shutdown triggered", "launcher.py:254")
        log.write("INFO:     Shutting down\n")
        self.server.drain(self.args.shutdown_timeout)
        for child in self.children:
            child.terminate()
        if not self.args.fake_stubborn:
            for child in self.children:
                child.wait()
        log.write("INFO:     Application shutdown complete.\n")
        return 0


def spawn_child(args: Namespace) -> subprocess.Popen[bytes]:
    """Like EngineCore: its title, its session; if asked, deaf (an ignored TERM is inherited), its environment blank."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN if args.fake_stubborn else signal.SIG_DFL)
    try:
        env = {} if args.fake_blank_environ else None
        return subprocess.Popen(["VLLM::EngineCore", "-SE", "-c", CHILD], executable=sys.executable, env=env)
    finally:
        signal.signal(signal.SIGTERM, before)
