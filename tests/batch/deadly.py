"""Answers without a model, one of which ends the process; workers of Ray are sent this."""

import os
import signal
from dataclasses import dataclass

from batch.stubs import answer

from todre.batch.model_answers import Answering


@dataclass(frozen=True)
class Deadly(Answering):
    """Answers by `batch.stubs.answer`; the row "row 2" ends the process, whenever it is tried."""

    def start(self):
        return self.work

    def work(self, record):
        if record.id == "row 2":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(record)
