"""Row functions without a model, that other processes can be sent, and rows for them."""

import json
import os
import signal
import time
from dataclasses import dataclass

from todre.batch.records import Failure, Outcome, Reply
from todre.errors import LoadError


def rows(count, start=0):
    return [{"id": f"row {n}", "image": f"{n}.png", "question": f"What is {n}?"} for n in range(start, start + count)]


def write_rows(file, values):
    file.write_text("".join(json.dumps(each) + "\n" for each in values), encoding="utf-8")
    return file


def read_rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def request(id_, *content, **body):
    parts = [
        part if isinstance(part, dict) else {"type": "text", "text": part} for part in content
    ]  # fmt: skip
    body = {"messages": [{"role": "user", "content": parts}], **body}
    return {"custom_id": id_, "method": "POST", "url": "/v1/chat/completions", "body": body}


def picture(url):
    return {"type": "image_url", "image_url": {"url": url}}


def reply(text):
    return Reply(text=text, ended="stop", model="stub", prompt_tokens=9, new_tokens=2, visual_tokens=(100, 10))


def answer(record):
    """The outcome that depends on the row alone; questions with `fail` in them fail."""
    question = record.values.get("question", "")
    if "fail" in question:
        return Outcome.of(record, Failure(type="ImageError", message="There is no picture."))
    return Outcome.of(record, reply(f"answer to {question}"))


@dataclass(frozen=True)
class Stub:
    """Starts `answer`, which takes `seconds` and writes a line for each row that it begins into `log`."""

    seconds: float = 0.0
    log: str = ""

    def __call__(self):
        return self.work

    def work(self, record):
        if self.log:
            with open(self.log, "a", encoding="utf-8") as stream:
                stream.write(f"{record.id} {os.getpid()}\n")
        time.sleep(self.seconds)
        if record.values.get("question") == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(record)


def no_model():
    raise LoadError("There is no such model; name another.")


def broken_model():
    raise RuntimeError("the kernel is missing")
