"""Run a program that knows nothing of us, and end it as soon as the process that asked for it ends.

``launch.module_command("processes.supervise", PROGRAM, ARGUMENT, ...)`` is the command. ``launch`` holds the other end
of standard input: the program is killed when that closes, also if its holder was killed. Exits as the program did.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from .current import killed_with_parent


def run(command: Sequence[str]) -> int:
    """Run the program to its end; return its exit code, negative for a signal.

    Raises:
        OSError: it cannot be started.
    """
    # Safe before exec: there is only one thread yet. On Linux the program does not even outlive a kill of this process.
    before_exec = killed_with_parent if sys.platform.startswith("linux") else None
    program = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, preexec_fn=before_exec)
    threading.Thread(target=_kill_at_end_of_input, args=(program,), daemon=True).start()
    return program.wait()


def _kill_at_end_of_input(program: subprocess.Popen[bytes]) -> None:
    try:
        while os.read(0, 1024):
            pass
    except (OSError, ValueError):  # no such input: nothing is known of the process that asked
        return
    program.kill()


def main() -> None:
    """Run the program on the command line, whose files only this user may read, and exit as it does."""
    os.umask(0o077)
    try:
        code = run(sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]} could not be started ({error.strerror or error}).")
    if code < 0:  # killed by a signal: end by the same, so that whoever waits for this process learns of it
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
