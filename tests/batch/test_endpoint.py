"""An endpoint: requests as the server takes them, and every way in which it can fail."""

import base64
import socket
import time
from email.utils import formatdate

import pytest
from batch.servers import FakeServer, serving
from batch.stubs import picture, read_rows, request, rows, write_rows
from PIL import Image

from todre.batch.endpoint import Endpoint
from todre.batch.run import run
from todre.batch.sources import JsonLines
from todre.errors import InvalidValueError, TodreError


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def answered(folder, server, values, **options):
    """Outcomes by id of rows that a server answers."""
    source = JsonLines(write_rows(folder / "rows.jsonl", values))
    with serving(server) as url:
        endpoint = Endpoint(folder=folder, url=url, **options)
        return {outcome.id: outcome for outcome in endpoint.answer(source.records())}


def test_plain_rows(folder):
    server = FakeServer()
    values = rows(3)
    values[1] |= {"retain": 0.5, "max_new_tokens": 3}
    found = answered(folder, server, values, concurrency=1)
    assert [each.reply.text for each in found.values()] == [f"echo: What is {n}?" for n in range(3)]
    assert [each.reply.request_id for each in found.values()] == [f"request What is {n}?" for n in range(3)]
    assert (found["row 0"].reply.prompt_tokens, found["row 0"].reply.new_tokens) == (5, 2)
    encoded = base64.b64encode((folder / "0.png").read_bytes()).decode()
    assert server.bodies[0] == {
        "model": "served",
        "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}},
            {"type": "text", "text": "What is 0?"},
        ]}],
        "max_tokens": 64,
        "temperature": 0,
    }  # fmt: skip
    assert server.bodies[1]["todre"] == {"retain": 0.5}
    assert server.bodies[1]["max_tokens"] == 3


def test_requests_go_as_they_are_but_for_pictures_and_budget(folder):
    server = FakeServer()
    own = {"model": "mine", "temperature": 0.7, "top_p": 0.9, "max_completion_tokens": 5, "logprobs": True}
    values = [request("a", picture("1.png"), picture("data:image/png;base64,AA=="), "Why?", todre={"retain": 9}, **own),
              request("b", picture(str(folder / "2.png")), "Why?", seed=None)]  # fmt: skip
    values[1]["body"]["messages"].insert(0, {"role": "developer", "content": "Be short.", "name": "me"})
    found = answered(folder, server, values[1:], kind="vllm", retain=0.25, model="named")
    (body,) = server.bodies
    assert body["messages"][0] == values[1]["body"]["messages"][0]
    assert body["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("named", 64, 0)
    assert body["mm_processor_kwargs"] == {"todre_retain": 0.25}
    assert "todre" not in body
    assert found["b"].reply.body["choices"][0]["message"]["content"] == "echo: Why?"
    values[0]["body"]["messages"][0]["content"].pop(1)
    answered(folder, server, values[:1], kind="vllm", retain=0.25)
    assert server.bodies[1].pop("messages")
    assert server.bodies[1] == {**own, "mm_processor_kwargs": {"todre_retain": 9}}


def test_budgets_by_kind_of_server(folder):
    values = rows(2)
    values[1]["retain"] = 12
    for kind, name, expected in (("todre", "todre", "retain"), ("vllm", "mm_processor_kwargs", "todre_retain")):
        server = FakeServer()
        answered(folder, server, values, kind=kind, retain=0.5, concurrency=1)
        assert [body[name] for body in server.bodies] == [{expected: 0.5}, {expected: 12}]
    server = FakeServer()
    found = answered(folder, server, values, kind="plain")
    assert found["row 0"].reply
    assert "plain endpoint takes none" in found["row 1"].failure.message
    assert len(server.bodies) == 1
    assert not {"todre", "mm_processor_kwargs"} & set(server.bodies[0])


def test_many_requests_are_in_flight_and_no_more_than_allowed(folder):
    server = FakeServer(together=8)
    found = answered(folder, server, rows(40), concurrency=8)
    assert len(found) == 40
    assert server.most_at_once == 8


def test_few_rows_are_read_ahead(folder):
    read, source = [], JsonLines(write_rows(folder / "rows.jsonl", rows(30)))

    def watched():
        for record in source.records():
            read.append(record.id)
            yield record

    with serving(FakeServer()) as url:
        outcomes = Endpoint(folder=folder, url=url, concurrency=4).answer(watched())
        for done, _ in enumerate(outcomes, start=1):
            assert len(read) <= done + 2 * 4


@pytest.mark.parametrize("trouble", [429, 500, 503, "drop"])
def test_passing_trouble_is_waited_out(folder, trouble):
    server = FakeServer(lambda text, times: trouble if times <= 2 else None)
    found = answered(folder, server, rows(6), concurrency=3)
    assert {each.reply.text for each in found.values()} == {f"echo: What is {n}?" for n in range(6)}
    assert set(server.times.values()) == {3}


def test_a_slow_answer_is_asked_for_again(folder):
    server = FakeServer(lambda text, times: 5.0 if times == 1 and "1" in text else None)
    found = answered(folder, server, rows(2), timeout=0.5)
    assert len(found) == 2
    assert found["row 1"].reply
    assert server.times["What is 1?"] == 2


@pytest.mark.parametrize(
    ("trouble", "type_", "status"),
    [(400, "BadRequestError", 400), (422, "UnprocessableEntityError", 422), (500, "InternalServerError", 500),
     (429, "RateLimitError", 429), ("drop", "APIConnectionError", None), ("garbage", "BadAnswer", None),
     ("no choices", "BadAnswer", 200)],
)  # fmt: skip
def test_lasting_trouble_is_an_error_of_its_row(folder, trouble, type_, status):
    server = FakeServer(lambda text, times: trouble if "1" in text else None)
    found = answered(folder, server, rows(3), retries=1)
    failure = found["row 1"].failure
    assert (failure.type, failure.status) == (type_, status)
    assert failure.message.endswith(".")
    assert found["row 0"].reply
    assert found["row 2"].reply
    tried_again = trouble in (429, 500, "drop")
    assert server.times["What is 1?"] == 1 + tried_again


def test_errors_are_in_the_output_in_both_shapes(folder):
    server = FakeServer(lambda text, times: 400 if "1" in text else None)
    values = [*rows(2), request("a", picture("1.png"), "What is 1 here?"), request("b", picture("9.png"), "Why?")]
    source = JsonLines(write_rows(folder / "rows.jsonl", values))
    output = folder / "out.jsonl"
    with serving(server) as url:
        endpoint = Endpoint(folder=folder, url=url, concurrency=1)
        summary = run(source, output, endpoint.conditions(), endpoint.answer)
    assert (summary.tally.answered, summary.tally.failed) == (2, 2)
    _, plain, refused, good = read_rows(output)
    assert plain["error"]["type"] == "BadRequestError"
    assert plain["error"]["status"] == 400
    assert "no: What is 1?" in plain["error"]["message"]
    assert refused["response"] == {"status_code": 400, "request_id": "refused What is 1 here?",
                                   "body": {"error": {"message": "no: What is 1 here?", "code": 400}}}  # fmt: skip
    assert refused["error"]["code"] == "BadRequestError"
    assert good["response"]["request_id"] == "request Why?"
    assert good["response"]["body"]["choices"][0]["message"]["content"] == "echo: Why?"


def test_rows_that_cannot_be_asked_reach_no_server(folder):
    server = FakeServer()
    values = [{"id": "a", "image": "none.png", "question": "Why?"}, {"id": "b", "question": "Why?"},
              {"id": "c", "image": "http://127.0.0.1/a.png", "question": "Why?"},
              request("d", picture("https://a/b.png"), "Why?"), request("e", "Why?", stream=True)]  # fmt: skip
    found = answered(folder, server, values)
    assert [found[id_].failure.type for id_ in "abcde"] == [
        "ImageError", "InvalidValueError", "ImageError", "ImageError", "InvalidValueError"
    ]  # fmt: skip
    assert server.bodies == []


def test_what_else_todre_serve_is_asked_for_stays_in_the_body(folder):
    server = FakeServer()
    values = [request("a", "Why?", todre={"method": "random"}), request("b", "Why?", todre={"retain": 3, "x": 1})]
    answered(folder, server, values, retain=0.5, concurrency=1)
    assert [body["todre"] for body in server.bodies] == [{"method": "random", "retain": 0.5}, {"retain": 3, "x": 1}]
    assert "'method'" in answered(folder, server, values[:1], kind="vllm")["a"].failure.message


def test_counts_of_visual_tokens_come_from_the_server(folder):
    more = {"todre": {"visual_tokens": {"before": 744, "after": 74}}}
    found = answered(folder, FakeServer(answer=lambda body: ("yes", more)), rows(1))
    assert found["row 0"].reply.visual_tokens == (744, 74)


def test_a_server_that_is_gone_ends_the_run_and_the_next_goes_on(folder):
    values = rows(40)
    source, output = JsonLines(write_rows(folder / "rows.jsonl", values)), folder / "out.jsonl"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def asked():
        url = f"http://127.0.0.1:{port}/v1"
        endpoint = Endpoint(folder=folder, url=url, model="m", concurrency=2, retries=0)
        return run(source, output, endpoint.conditions(), endpoint.answer, retry=True)

    with pytest.raises(TodreError, match="failed one after another"):
        asked()
    assert len(read_rows(output)) < 12
    with serving(FakeServer(), port):
        assert asked().tally.answered == 40
    assert sorted(row["id"] for row in read_rows(output)) == sorted(row["id"] for row in values)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_server_that_answers_nothing_ends_the_run(folder, status):
    """It may be down, or limit requests: the rest of the file would become errors."""
    server = FakeServer(lambda text, times: status)
    with pytest.raises(TodreError, match=f"failed one after another .*HTTP {status}"):
        answered(folder, server, rows(40), retries=0, concurrency=2)
    assert len(server.bodies) < 14


def test_a_row_that_is_forbidden_costs_itself_alone(folder):
    found = answered(folder, FakeServer(lambda text, times: 403 if "1" in text else None), rows(3))
    assert (found["row 1"].failure.type, found["row 1"].failure.status) == ("PermissionDeniedError", 403)
    assert found["row 0"].reply
    assert found["row 2"].reply


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_wait_that_the_server_asks_for_is_waited_for(folder, status, monkeypatch):
    waited = []

    async def pause(seconds):
        waited.append(seconds)

    monkeypatch.setattr("todre.batch.endpoint._pause", pause)
    found = answered(folder, FakeServer(lambda text, times: status if times == 1 else None, wait="600"), rows(1))
    assert found["row 0"].reply
    assert waited == [600]
    when = formatdate(time.time() + 900, usegmt=True)
    assert answered(folder, FakeServer(lambda text, times: status if times == 1 else None, wait=when), rows(1))
    assert 890 < waited[1] <= 900
    late = answered(folder, FakeServer(lambda text, times: status, wait="86400"), rows(1))
    assert late["row 0"].failure.status == status
    assert len(waited) == 2


@pytest.mark.parametrize("usage", ["none", [1], 7, {"prompt_tokens": "5", "completion_tokens": True}])
def test_a_usage_that_says_nothing_costs_no_row(folder, usage):
    found = answered(folder, FakeServer(answer=lambda body: ("yes", {"usage": usage})), rows(1))
    reply = found["row 0"].reply
    assert (reply.text, reply.prompt_tokens, reply.new_tokens) == ("yes", None, None)


def test_what_nobody_foresaw_is_an_error_of_its_row(folder, monkeypatch):
    def broken(body, request_id):
        raise RuntimeError("late")

    monkeypatch.setattr("todre.batch.endpoint.reply_of", broken)
    failure = answered(folder, FakeServer(), rows(1))["row 0"].failure
    assert (failure.type, failure.message) == ("RuntimeError", "The row could not be answered (late).")


def test_a_picture_is_read_here_where_its_url_is_a_text(folder):
    server = FakeServer()
    values = [request("a", {"type": "image_url", "image_url": "1.png"}, "Why?"),
              request("b", {"type": "image_url", "image_url": "https://a/b.png"}, "Why?")]  # fmt: skip
    found = answered(folder, server, values)
    assert found["b"].failure.type == "ImageError"
    (body,) = server.bodies
    assert body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_the_model_that_is_listed_is_among_the_conditions(folder):
    with serving(FakeServer(models=("first",))) as url:
        first = Endpoint(folder=folder, url=url).with_model()
    with serving(FakeServer(models=("second",))) as url:
        second = Endpoint(folder=folder, url=url).with_model()
        assert Endpoint(folder=folder, url=url, model="first").with_model().conditions() == first.conditions()
    assert (first.conditions()["model"], second.conditions()["model"]) == ("first", "second")


def test_a_refused_key_ends_the_run(folder, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    server = FakeServer(lambda text, times: 401)
    with pytest.raises(TodreError, match="refuses the key in MY_KEY") as caught:
        answered(folder, server, rows(3), key="MY_KEY", concurrency=1)
    assert "secret" not in str(caught.value)
    assert server.keys == ["Bearer secret"]
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(InvalidValueError, match="MY_KEY is not set"):
        answered(folder, server, rows(3), key="MY_KEY")


def test_the_model_is_the_only_one_that_is_served(folder):
    with pytest.raises(InvalidValueError, match=r"lists 2 models \(a, b\)"):
        answered(folder, FakeServer(models=("a", "b")), rows(1))
    server = FakeServer(models=("a", "b"))
    answered(folder, server, rows(1), model="b")
    assert server.bodies[0]["model"] == "b"


def test_an_address_without_a_server(folder):
    source = JsonLines(write_rows(folder / "rows.jsonl", rows(1)))
    endpoint = Endpoint(folder=folder, url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(TodreError, match="does not list its models"):
        list(endpoint.answer(source.records()))


def test_conditions_go_by_what_is_asked_and_not_by_where():
    endpoint = Endpoint(folder=".", url="http://a/v1", retain=0.5)
    moved = Endpoint(folder=".", url="http://b/v1", retain=0.5, concurrency=3, retries=1, timeout=9.0)
    assert endpoint.conditions() == moved.conditions()
    for other in ({"retain": 0.4}, {"kind": "vllm"}, {"model": "m"}, {"max_new_tokens": 5}):
        assert (
            Endpoint(**{"folder": ".", "url": "http://a/v1", "retain": 0.5, **other}).conditions() != moved.conditions()
        )
