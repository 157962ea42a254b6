"""Runs a program that knows nothing of us, and ends it as soon as whoever asked for it ends.

python -m SlicerDeepRegLib.methods.foreign PROGRAM ARGUMENT ...

Started by ``apart``, which holds the other end of standard input: the program is ended when that closes, also by a
kill of the one that holds it. Ends as the program did.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Sequence

from ..process import killed_with_parent


def run(command: Sequence[str]) -> int:
    """The exit code of the program, negative for a signal.

    Raises:
        OSError: it cannot be started.
    """
    # Safe before exec: there is one thread yet. On Linux the program does not even outlive a kill of this process.
    more = {"preexec_fn": killed_with_parent} if sys.platform.startswith("linux") else {}
    program = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, **more)
    threading.Thread(target=_end_at_the_end_of_input, args=(program,), daemon=True).start()
    return program.wait()


def _end_at_the_end_of_input(program: subprocess.Popen) -> None:
    try:
        while os.read(0, 1024):
            pass
    except (OSError, ValueError):  # there is no such input: nothing is known of who asked
        return
    program.kill()


def main() -> None:
    try:
        code = run(sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]} could not be started ({error.strerror or error}).")
    if code < 0:  # by a signal: so does this process, and whoever waits for it is told
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
