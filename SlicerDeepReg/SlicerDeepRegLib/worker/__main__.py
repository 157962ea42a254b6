"""The worker's process: ``launch.module_command("worker", FOLDER)``, started by the client, never by hand."""

import sys

from .serve import main

sys.exit(main(sys.argv[1]))
