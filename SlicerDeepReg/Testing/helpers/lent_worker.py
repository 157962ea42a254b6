"""A worker's client whose process goes from test to test: loading torch takes longer than most registrations here."""

import itertools
import os

from SlicerDeepRegLib.worker.client import WorkerClient


class LentWorkerClient(WorkerClient):
    """A client that takes an idle process that another left, and leaves its own when it is closed.

    A process is lent only to a client with the same environment, and only when it is alive with its folder, and idle.
    """

    #: Idle processes that were left: (environment, connection, devices).
    left = []
    _all_numbers = itertools.count(1)

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self._numbers = self._all_numbers  # the names of jobs are those of folders, which outlive a client

    def start(self):
        if self._connection is None:
            for place, (environment, connection, devices) in enumerate(self.left):
                if environment == _environment(self._environment) and connection.alive and connection.folder.is_dir():
                    del self.left[place]
                    self._connection, self.devices = connection, devices
                    return
        super().start()

    def close(self):
        idle = self.running and not self.busy and not self._canceled and self.devices and self.folder.is_dir()
        if idle:
            self.poll()  # what it still had to say
            for job in self.folder.iterdir():
                self.release(job.name)
            self.left.append((_environment(self._environment), self._connection, self.devices))
            self._connection = None
        super().close()

    @classmethod
    def end_all(cls):
        """End the processes that were left."""
        while cls.left:
            cls.left.pop()[1].end().join()


def _environment(given):
    """Return the variables that a process is started with, but for the name of the test."""
    variables = dict(os.environ if given is None else given)
    variables.pop("PYTEST_CURRENT_TEST", None)
    return variables
