"""Whatever answers, the rows are the same: this process, several, or a server with the same model."""

import pytest
from batch.servers import FakeServer, serving
from batch.stubs import picture, read_rows, request, write_rows

import todre
from todre.batch.endpoint import Endpoint
from todre.batch.model_answers import Answering
from todre.batch.processes import in_processes, threads_each
from todre.batch.records import Record
from todre.batch.run import inline, run
from todre.batch.sources import JsonLines
from todre.scenes import make_scene


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    values = []
    for seed in range(5):
        scene = make_scene(seed, "val", 96)
        scene.image.save(folder / f"{seed}.png")
        for place, question in enumerate(scene.questions[:2]):
            values.append({"id": f"{seed}-{place}", "image": f"{seed}.png", "question": question.text})
    values[3]["retain"], values[4]["max_new_tokens"] = 0.5, 1
    values.append(request("asked", picture("1.png"), picture("2.png"), "Which is brighter?", todre={"retain": 0.4}))
    values.append({"id": "missing", "image": "none.png", "question": "Why?"})
    return JsonLines(write_rows(folder / "rows.jsonl", values))


@pytest.fixture(scope="module")
def answering(source):
    return Answering(folder=source.folder, device="cpu", method=todre.ToDRE(retain=0.2).to_dict(), max_new_tokens=6)


def shared(file):
    """The lines of an output by id, without what is a server's own."""
    found = {}
    for line in read_rows(file):
        body = (line.get("response") or {}).get("body")
        content = {"answer": body["choices"][0]["message"]["content"]} if body else dict(line)
        content.pop("fingerprint", None)
        found[line.get("custom_id", line["id"])] = content
    return found


def test_the_rows_are_the_same(source, answering, tmp_path):
    conditions, work = answering.conditions(), answering.start()
    here, several, asked = (tmp_path / f"{name}.jsonl" for name in ("here", "several", "asked"))
    run(source, here, conditions, inline(lambda: work))
    start = Answering(**{**vars(answering), "threads": threads_each(2)}).start
    run(source, several, conditions, in_processes(start, 2))

    def answer(body):
        values = {"custom_id": "x", "body": {**body, "model": "todre-tiny"}}
        reply = work(Record(place=(), id="x", values=values, openai=True)).reply
        before, after = reply.visual_tokens
        return reply.text, {
            "model": reply.model, "todre": {"visual_tokens": {"before": before, "after": after}},
            "usage": {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.new_tokens},
            "choices": [{"finish_reason": reply.ended, "message": {"content": reply.text}}],
        }  # fmt: skip

    with serving(FakeServer(answer=answer)) as url:
        endpoint = Endpoint(folder=source.folder, url=url, max_new_tokens=6, concurrency=1)
        run(source, asked, endpoint.conditions(), endpoint.answer)
    expected = shared(here)
    assert len(expected) == 12
    assert [line["error"]["type"] for line in expected.values() if "error" in line] == ["ImageError"]
    assert shared(several) == expected
    assert shared(asked) == expected
