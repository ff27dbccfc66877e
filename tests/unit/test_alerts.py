"""Alerts against a real server and real commands: what arrives, and that nothing that fails or hangs does any harm."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestration.alerts import SHOWN_REASONS, Alert, send
from orchestration.settings import SettingsError, load_settings

ALERT = Alert(
    "failed", "The refresh failed.", ("gate landing: rule on raw.orders failed: do this",), "Readers have v1."
)


class Server(ThreadingHTTPServer):
    """Keeps what it was sent, and answers as it is told."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.received: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                answer(self)

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """With a part that nobody may see."""
        return f"http://127.0.0.1:{self.server_port}/hooks/not-to-be-seen"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    """A server for the duration of a test."""
    with Server(answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, so that no single read takes long."""
    for letter in b"HTTP/1.0 200 OK and so on, for ever" * 10:
        handler.wfile.write(bytes([letter]))
        time.sleep(0.3)


def test_nobody_is_told_unless_somebody_is_to_be(tmp_path: Path) -> None:
    assert send(ALERT, load_settings(data=tmp_path)) == []


def test_the_webhook_gets_the_gates_message_and_the_remedy(tmp_path: Path) -> None:
    with serving(status(200)) as server:
        assert send(ALERT, load_settings(data=tmp_path, alert_webhook=server.address)) == []
    (received,) = server.received
    assert received == {
        "text": f"The refresh failed.\n- {ALERT.reasons[0]}\nReaders have v1.",
        "kind": "failed",
        "subject": "The refresh failed.",
        "reasons": list(ALERT.reasons),
        "readers_have": "Readers have v1.",
        "run_id": None,
    }


def test_of_many_reasons_the_text_has_the_first() -> None:
    alert = Alert("failed", "It failed.", tuple(f"reason {number}" for number in range(SHOWN_REASONS + 3)), "")
    assert "- reason 0\n" in alert.text and "- and 3 more" in alert.text
    assert f"reason {SHOWN_REASONS}" not in alert.text


def test_the_command_gets_the_alert_on_its_input(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\").write(sys.stdin.read())' {told}"
    assert send(ALERT, load_settings(data=tmp_path, alert_command=command)) == []
    assert json.loads(told.read_text())["subject"] == "The refresh failed."


@pytest.mark.parametrize(
    "command, reason",
    [
        (f"{sys.executable} -c 'raise SystemExit(3)'", "exit code 3"),
        ("/nowhere/at-all", "No such file"),
        ("sleep 60", "did not end within 0.5 s"),
    ],
)
def test_a_command_that_fails_or_hangs_is_reported(tmp_path: Path, command: str, reason: str) -> None:
    settings = load_settings(data=tmp_path, alert_command=command, alert_timeout_seconds=0.5)
    started = time.monotonic()
    (problem,) = send(ALERT, settings)
    assert time.monotonic() - started < 5
    assert "CUSTOMER360_ALERT_COMMAND" in problem and reason in problem and "See that it works" in problem


@pytest.mark.parametrize(
    "answer, reason",
    [(status(500), "status 500"), (status(404), "status 404"), (drip, "within 0.5 s")],
)
def test_a_server_that_refuses_or_drips_is_reported_in_a_bounded_time_without_its_address(
    tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler], None], reason: str
) -> None:
    with serving(answer) as server:
        settings = load_settings(data=tmp_path, alert_webhook=server.address, alert_timeout_seconds=0.5)
        started = time.monotonic()
        (problem,) = send(ALERT, settings)
        assert time.monotonic() - started < 5
    assert "CUSTOMER360_ALERT_WEBHOOK" in problem and reason in problem
    assert "not-to-be-seen" not in problem and "127.0.0.1" not in problem


def test_a_server_that_is_down_is_reported_and_the_command_runs_all_the_same(tmp_path: Path) -> None:
    with serving(status(200)) as server:
        address = server.address
    told = tmp_path / "told"
    settings = load_settings(data=tmp_path, alert_webhook=address, alert_command=f"touch {told}")
    (problem,) = send(ALERT, settings)
    assert "Connection refused" in problem and "not-to-be-seen" not in problem
    assert told.exists()


@pytest.mark.parametrize("webhook", ["hooks.example/not-to-be-seen", "file:///not-to-be-seen", "http://", "http://[x"])
def test_what_is_no_address_is_refused_without_being_said(tmp_path: Path, webhook: str) -> None:
    with pytest.raises(SettingsError, match="CUSTOMER360_ALERT_WEBHOOK: not an address") as error:
        load_settings(data=tmp_path, alert_webhook=webhook)
    assert "not-to-be-seen" not in str(error.value)


def test_the_address_is_not_shown_with_the_settings(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, alert_webhook="https://hooks.example/not-to-be-seen")
    assert "not-to-be-seen" not in repr(settings) + str(settings.model_dump())


def test_a_command_with_an_open_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CUSTOMER360_ALERT_COMMAND: .* close its quotes"):
        load_settings(data=tmp_path, alert_command="mail 'me")
