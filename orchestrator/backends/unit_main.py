"""The first program of a unit. It is told through a socket, by the orch that starts it, what to become: so neither a
secret nor anything else of the engine's environment is a property of the unit, on a command line or in a file.

Run by `python -I -S FILE SOCKET`; it imports nothing of orch's. The socket closes as the engine takes its place, and
carries back why it could not.
"""

import json
import os
import signal
import socket
import sys

CANNOT_EXECUTE = 203  # systemd's own status for that


def main(path: str) -> int:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        with line.makefile("rb") as told:
            launch = json.load(told)
        # Python ignores these, and what is ignored stays so.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.chdir(launch["cwd"])
            os.execvpe(launch["argv"][0], launch["argv"], launch["env"])
        except OSError as error:
            line.sendall(f"{error.filename or launch['argv'][0]}: {error.strerror}".encode())
    return CANNOT_EXECUTE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
