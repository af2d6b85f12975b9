"""Tests both clients over HTTP, against a server that answers as scripted."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, assert_type
from uuid import UUID

import pytest

from clients.python.tests.conftest import MakeClient
from clients.python.tests.examples import (
    OTHER_ID,
    RUN_ID,
    definition_json,
    definition_row_json,
    error_json,
    events_json,
    list_json,
    row_json,
    run_json,
)
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import (
    AsyncGyozaClient,
    Event,
    Forbidden,
    GyozaClient,
    NoAnswer,
    Page,
    Pager,
    Run,
    RunFailed,
    RunNotFound,
    UnexpectedAnswer,
)

SOURCE = str(Path(__file__).resolve().parents[1] / "src")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_calling", "_operations"):
        monkeypatch.setattr(f"gyoza_client.{module}._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("gyoza_client._operations._SHORTEST_PAUSE_S", 0.01)


def test_a_request_says_what_was_asked_for(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(201, run_json(inputs={"text": "grüße 🥟"})))
    run = client.create_run("busybox:1", {"text": "grüße 🥟"}, queue="gpu", idempotency_key="order 7")
    assert run.inputs == {"text": "grüße 🥟"}
    [asked] = server.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/runs", [])
    assert asked.body == {"image": "busybox:1", "inputs": {"text": "grüße 🥟"}, "queue": "gpu"}
    expected = {"x-api-key": "key", "idempotency-key": "order 7", "content-type": "application/json"}
    assert asked.headers.items() >= expected.items()


def test_brackets_spaces_and_plus_signs_of_a_query_arrive(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(200, list_json()))
    assert list(client.list_runs(image="a b+c&d=é", created_gte=1, expand=["events"])) == []
    assert server.asked[0].query == [("image", "a b+c&d=é"), ("created[gte]", "1"), ("expand[]", "events")]


def test_an_id_with_odd_characters_is_one_part_of_the_path(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(404, error_json("run_not_found")))
    with pytest.raises(RunNotFound):
        client.get_run("a/b%2F ..é?#")
    assert server.asked[0].path == "/runs/a%2Fb%252F%20..%C3%A9%3F%23"


def test_a_connection_that_breaks_after_the_server_acted_leads_to_one_run(client: Any, server: ScriptedServer) -> None:
    made: dict[str, int] = {}

    def act(asked: Asked) -> Reply:
        key = asked.headers["idempotency-key"]
        made[key] = made.get(key, 0) + 1
        return HANG_UP if made[key] < 4 else Reply(201, run_json())

    server.answers_with(act)
    client.create_run("busybox:1")
    client.create_run("busybox:1")
    assert list(made.values()) == [4, 4]
    assert all(UUID(key) for key in made)


def test_a_call_that_gives_up_names_its_key(make_client: MakeClient, server: ScriptedServer) -> None:
    server.replies(HANG_UP)
    with pytest.raises(NoAnswer, match="No answer to POST /runs: ") as lost:
        make_client(server.url, "key", max_retries=1).create_run("busybox:1")
    assert [asked.headers["idempotency-key"] for asked in server.asked] == [lost.value.idempotency_key] * 2


def test_an_address_where_nothing_listens_is_no_answer(make_client: MakeClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NoAnswer):
        make_client(url, "key", max_retries=1).update_run(RUN_ID, priority=1)


def test_a_server_that_says_nothing_is_left_after_the_timeout(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make_client(f"http://127.0.0.1:{silent.getsockname()[1]}", "key", timeout=0.05, max_retries=2)
        with pytest.raises(NoAnswer):
            client.get_run(RUN_ID)


HEADERS_BEGIN = b"HTTP/1.1 200 OK\r\nX-Drip: "


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """The URL of a server that answers its first connection with these bytes, and then a byte each 20 ms for 2 s."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip(stop: threading.Event) -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(start)
                for drop in HEADERS_BEGIN + b"a" * 70 if not start else b"a" * 100:
                    if stop.wait(0.02):
                        return
                    connection.sendall(bytes([drop]))

        with in_thread(drip):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def in_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs a function until the block ends, which sets the event."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "start",
    [b"", HEADERS_BEGIN, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"],
    ids=["at-once", "in-the-headers", "in-the-body"],
)
def test_a_server_that_drips_is_left_after_the_timeout(make_client: MakeClient, start: bytes) -> None:
    with dripping(start) as url:
        begun = time.monotonic()
        with pytest.raises(NoAnswer, match=r"took longer than 0\.2 s"):
            make_client(url, "key", timeout=0.2, max_retries=0).get_run(RUN_ID)
        assert time.monotonic() - begun < 1


def test_a_proxy_that_drips_is_left_after_the_timeout(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping(HEADERS_BEGIN) as url:
        monkeypatch.setenv("http_proxy", url)
        begun = time.monotonic()
        with pytest.raises(NoAnswer, match=r"took longer than 0\.2 s"):
            make_client("http://api.invalid", "key", timeout=0.2, max_retries=0).get_run(RUN_ID)
        assert time.monotonic() - begun < 1


def test_a_server_that_takes_a_request_slowly_is_left_after_the_timeout(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def sip(stop: threading.Event) -> None:
            connection, _ = listening.accept()
            with connection:
                while not stop.wait(0.02):
                    connection.recv(100_000)

        with in_thread(sip):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            begun = time.monotonic()
            with pytest.raises(NoAnswer, match=r"took longer than 0\.3 s"):
                make_client(url, "key", timeout=0.3, max_retries=0).create_run("busybox:1", {"text": "a" * 20_000_000})
            assert time.monotonic() - begun < 1.5


def test_an_address_of_the_host_that_says_nothing_does_not_take_the_time_of_the_next(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gyoza_client._deadlines._SHORTEST_CONNECT_S", 0.1)
    server.replies(Reply(200, run_json()))
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(4):  # They fill its queue.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        monkeypatch.setattr("gyoza_client._deadlines._addresses", lambda *_: ["127.0.0.3", "127.0.0.2", "127.0.0.1"])
        client = stack.enter_context(GyozaClient(server.url, "key", timeout=1, max_retries=0))
        begun = time.monotonic()
        assert client.get_run(RUN_ID).id == RUN_ID
        assert 0.2 < time.monotonic() - begun < 1


def test_the_time_of_a_request_begins_anew_on_a_connection_that_is_kept(
    make_client: MakeClient, server: ScriptedServer
) -> None:
    server.replies(Reply(200, run_json()))
    client = make_client(server.url, "key", timeout=0.3, max_retries=0)
    client.get_run(RUN_ID)
    time.sleep(0.4)
    assert client.get_run(RUN_ID).id == RUN_ID
    assert server.connections == 1


def test_an_html_page_is_an_unexpected_answer(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(200, b"<html>"))
    with pytest.raises(UnexpectedAnswer, match="<html>"):
        client.get_run(RUN_ID)


def test_other_limits_hold_for_the_copy_only(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(503, error_json("unavailable")))
    with pytest.raises(Exception, match="unavailable"):
        client.with_options(max_retries=0, timeout=5, call_timeout=5).get_run(RUN_ID)
    assert len(server.asked) == 1
    server.replies(Reply(503, error_json("unavailable")), Reply(200, run_json()))
    assert client.get_run(RUN_ID).id == RUN_ID


def test_anything_else_is_sent_by_request(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(200, {"at": "now"}))
    answer = client.request("GET", "/stats?queue=a", headers={"X-Extra": "1"})
    assert (answer.status, answer.json()) == (200, {"at": "now"})
    client.request("get", "/stats", query=[("queue", "a"), ("queue", "b")])
    client.request("POST", "/later", body={"n": 1})
    assert [asked.query for asked in server.asked] == [[("queue", "a")], [("queue", "a"), ("queue", "b")], []]
    assert server.asked[0].headers["x-extra"] == "1"
    assert UUID(server.asked[2].headers["idempotency-key"])


def test_definitions_are_put_read_run_and_deleted(client: Any, server: ScriptedServer) -> None:
    etag = {"ETag": '"resize/1/3"'}
    server.replies(Reply(201, definition_json(), etag))
    fields = {"version": "1", "image": "busybox:1", "input_specs": {"n": {"type": "int"}}, "queue": "q"}
    created = client.create_definition("resize", **fields, if_none_match="*")
    put = client.upsert_definition("resize", **fields, if_match=created)
    assert (created.etag, put.input_specs["n"].type) == ('"resize/1/3"', "int")
    server.replies(Reply(200, list_json(definition_row_json(), url="/definitions")))
    assert [row.version for row in client.list_definition_versions("resize")] == ["1"]
    server.replies(Reply(201, run_json(op_definition="resize")))
    assert client.create_run_from_definition("resize", {"n": 1}, version="1").op_definition == "resize"
    server.replies(HANG_UP, Reply(204))
    assert client.delete_definition("resize") is None
    assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
        ("POST", "/definitions", {"name": "resize", **fields}),
        ("PUT", "/definitions/resize", fields),
        ("GET", "/definitions/resize/versions", None),
        ("POST", "/definitions/resize/runs", {"inputs": {"n": 1}, "version": "1"}),
        ("DELETE", "/definitions/resize", None),
        ("DELETE", "/definitions/resize", None),
    ]
    assert server.asked[0].headers["if-none-match"] == "*"
    assert server.asked[1].headers["if-match"] == '"resize/1/3"'
    assert ["idempotency-key" in asked.headers for asked in server.asked] == [True, False, False, True, False, False]


def test_rows_and_pages_and_streams_are_iterated(client: Any, server: ScriptedServer) -> None:
    pages = [Reply(200, list_json(row_json(), next_cursor=RUN_ID)), Reply(200, list_json(row_json(id=OTHER_ID)))]
    listing = client.list_runs()
    server.replies(*pages)
    assert [run.id for run in listing] == [RUN_ID, OTHER_ID]
    server.replies(*pages)
    assert [page.has_more for page in listing.pages()] == [True, False]
    server.replies(Reply(200, events_json(0, 1)), HANG_UP, Reply(200, events_json(2, state="COMPLETED")))
    assert [event.seq for event in client.watch(RUN_ID)] == [0, 1, 2]
    server.replies(Reply(200, run_json("FAILED")))
    assert [run.state for run in client.as_completed([RUN_ID])] == ["FAILED"]


def test_a_run_is_waited_for(client: Any, server: ScriptedServer) -> None:
    replies = [Reply(201, run_json()), Reply(200, events_json()), Reply(200, events_json(state="FAILED"))]
    server.replies(*replies, Reply(200, run_json("FAILED")))
    with pytest.raises(RunFailed) as failed:
        client.run("busybox:1", timeout=30)
    assert failed.value.run.state == "FAILED"


def test_a_walk_that_is_left_early_leaves_the_client_usable(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(200, events_json(0, 1)))
    assert next(iter(client.watch(RUN_ID))).seq == 0
    server.replies(Reply(200, run_json()))
    assert client.get_run(RUN_ID).id == RUN_ID


def test_type_checkers_see_the_parameters_and_results_of_both_clients(server: ScriptedServer) -> None:
    server.answers_with(
        lambda asked: Reply(200, events_json(0, state="FAILED") if "events" in asked.path else run_json())
    )
    with GyozaClient(server.url, "key") as client:
        run = client.create_run("busybox:1", priority=3)
        assert_type(run, Run)
        assert_type(client.list_runs(), Pager[Run, Page[Run]])
        assert_type(list(client.watch(run)), list[Event])
        with pytest.raises(TypeError):
            client.get_run(run, colour="red")  # type: ignore[call-arg]

    async def play() -> None:
        async with AsyncGyozaClient(server.url, "key") as client:
            run = await client.create_run("busybox:1", priority=3)
            assert_type(run, Run)
            assert_type([event async for event in client.watch(run)], list[Event])
            with pytest.raises(TypeError):
                await client.get_run(run, colour="red")  # type: ignore[call-arg]

    asyncio.run(play())


def test_threads_share_a_client(server: ScriptedServer) -> None:
    server.answers_with(lambda asked: Reply(200, run_json(id=asked.path.removeprefix("/runs/"))))
    got: dict[int, list[str]] = {}
    with GyozaClient(server.url, "key") as client:

        def work(number: int) -> None:
            got[number] = [client.get_run(f"{number}-{turn}").id for turn in range(10)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == {number: [f"{number}-{turn}" for turn in range(10)] for number in range(8)}


def test_tasks_share_a_client_and_a_cancelled_one_stops(server: ScriptedServer) -> None:
    def running(asked: Asked) -> Reply:
        _, _, run_id, *rest = asked.path.split("/")
        return Reply(200, events_json() if rest else run_json("RUNNING", id=run_id))

    server.answers_with(running)

    async def play() -> list[str]:
        async with AsyncGyozaClient(server.url, "key") as client:
            runs = await asyncio.gather(*(client.get_run(str(number)) for number in range(20)))
            waiting = asyncio.create_task(client.wait("5"))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return [run.id for run in runs]

    assert asyncio.run(play()) == [str(number) for number in range(20)]


def test_a_closed_client_sends_nothing(server: ScriptedServer) -> None:
    with GyozaClient(server.url, "key") as client:
        pass
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get_run(RUN_ID)
    assert server.asked == []


def test_a_used_client_sends_nothing_once_it_or_a_copy_is_closed(server: ScriptedServer) -> None:
    async def play() -> None:
        client = AsyncGyozaClient(server.url, "key")
        await client.get_run(RUN_ID)
        await client.with_options(timeout=5).close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.get_run(RUN_ID)

    server.replies(Reply(200, run_json()))
    client = GyozaClient(server.url, "key")
    client.get_run(RUN_ID)
    client.with_options(timeout=5).close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get_run(RUN_ID)
    asyncio.run(play())
    assert len(server.asked) == 2


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    make_client: MakeClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.replies(Reply(200, run_json()))
    assert make_client(server.url, "key", max_retries=0).get_run(RUN_ID).id == RUN_ID


def test_a_wrong_key_is_said_and_no_text_shows_the_key(client: Any, server: ScriptedServer) -> None:
    server.replies(Reply(403, error_json("forbidden")))
    with pytest.raises(Forbidden):
        client.get_run(RUN_ID)
    with GyozaClient(server.url, "s3cret") as other:
        assert "s3cret" not in repr(other)


def test_a_client_that_is_only_made_and_closed_loads_neither_asyncio_nor_profiles_nor_certificates() -> None:
    program = (
        "import sys, gyoza_client; gyoza_client.GyozaClient('https://a/b', 'key').close();"
        "print({'asyncio', 'tomllib', 'truststore', 'pydantic'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=False
    )
    assert printed.stdout == "set()\n", printed.stderr
