"""What an engine writes into a real journal is followed there."""

import sys
from pathlib import Path

from fakes.systemd import Systemd

SCRIPT = """\
import subprocess, sys, time
from pathlib import Path
from orchestrator import log_follower, logfiles

log_follower.JOURNAL_EVERY = 0.05
log = Path(sys.argv[1])
logfiles.point_to_journal(log, "follow-me.service")
follower, heard = log_follower.LogFollower(log), []
unit = ["systemd-run", "--user", "--quiet", "--wait", "--collect", "--unit=follow-me", "printf"]

def write(text, count):
    subprocess.run([*unit, text], check=True)
    until = time.monotonic() + 10
    while len(heard) < count and time.monotonic() < until:
        heard.extend(follower.poll())
        time.sleep(0.02)

write(r"one\\nload 1%%\\rload 2%%\\ncaf\\303\\251\\n", 4)
write(r"last\\n", 5)
print(heard)
"""


def test_the_journal_of_a_unit_must_be_followed_as_it_is_written(systemd: Systemd, tmp_path: Path) -> None:
    script = tmp_path / "follow.py"
    script.write_text(SCRIPT)
    heard = systemd.run(sys.executable, str(script), str(tmp_path / "log"))
    assert heard == "['one', 'load 1%', 'load 2%', 'caf\u00e9', 'last']"
