"""Alerts: what somebody is told when a refresh failed, was blocked or never came; by a command, a webhook, or nobody.

Telling must not harm what it tells of: it takes a bounded time, raises nothing, and says what could not be delivered.
No address of a webhook is in any message, as knowing it is enough to post there.
"""

import json
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from orchestration.settings import Settings

SHOWN_REASONS = 20


@dataclass(frozen=True)
class Alert:
    """What went wrong, for a person.

    Attributes:
        kind: failed: a step broke or a gate blocked; incomplete: a run ended well and left out what it promised;
            missed: no refresh came by its time.
        subject: In one line.
        reasons: Of the gates and steps, a rule and its remedy each; never personal data.
        readers_have: What readers go on with.
        run_id: Dagster's; None where there was no run.
    """

    kind: Literal["failed", "incomplete", "missed"]
    subject: str
    reasons: tuple[str, ...]
    readers_have: str
    run_id: str | None = None

    @property
    def text(self) -> str:
        """All of it in lines; of many reasons the first."""
        more = len(self.reasons) - SHOWN_REASONS
        shown = [*self.reasons[:SHOWN_REASONS], *([f"and {more} more"] if more > 0 else [])]
        return "\n".join([self.subject, *(f"- {reason}" for reason in shown), self.readers_have])

    def to_json(self) -> bytes:
        """The fields, and `text`, which chat programs show."""
        return json.dumps({"text": self.text, **asdict(self)}).encode()


def without_trace(reason: str) -> str:
    """A reason without the lines of code that it came through; these are in Dagster's log."""
    return reason.split("\n\nStack Trace:")[0].strip()


def send(alert: Alert, settings: Settings) -> list[str]:
    """Runs the command and posts to the webhook of the settings, where there are any.

    Returns:
        What could not be delivered, a sentence each; nothing where all was, or nobody is to be told.
    """
    ways: list[tuple[str, Callable[[], None]]] = []
    if settings.alert_command is not None:
        words = shlex.split(settings.alert_command)
        ways.append((f"CUSTOMER360_ALERT_COMMAND {words[0]}", lambda: _run(words, alert, settings)))
    if settings.alert_webhook is not None:
        address = settings.alert_webhook.get_secret_value()
        ways.append(("CUSTOMER360_ALERT_WEBHOOK", lambda: _post(address, alert, settings)))
    problems = (_bounded(name, way, settings.alert_timeout_seconds) for name, way in ways)
    return [problem for problem in problems if problem]


def _bounded(name: str, way: Callable[[], None], seconds: float) -> str | None:
    """What went wrong within the time given; the time itself if it was too short.

    A library's timeout is one of each read, so that a server that gives a byte now and then would never time out.
    """
    found: list[str] = []

    def deliver() -> None:
        try:
            way()
        except subprocess.TimeoutExpired:
            found.append(f"it did not end within {seconds:g} s")
        except subprocess.CalledProcessError as error:
            found.append(f"it ended with exit code {error.returncode}")
        except urllib.error.HTTPError as error:
            found.append(f"it answered with status {error.code}")
        except (OSError, ValueError) as error:
            # The text of another error may quote the address.
            reason = getattr(error, "reason", error)
            found.append(getattr(reason, "strerror", None) or type(reason).__name__)

    worker = threading.Thread(target=deliver, daemon=True)
    worker.start()
    worker.join(seconds + 1)
    if worker.is_alive():
        found.append(f"it did not answer within {seconds:g} s")
    return f"the alert was not delivered by {name}: {found[0]}. See that it works" if found else None


def _run(words: list[str], alert: Alert, settings: Settings) -> None:
    subprocess.run(
        words,
        input=alert.to_json(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=settings.alert_timeout_seconds,
        check=True,
    )


def _post(address: str, alert: Alert, settings: Settings) -> None:
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data=alert.to_json(), headers=dict(headers), method="POST")
    with urllib.request.urlopen(request, timeout=settings.alert_timeout_seconds) as answer:
        answer.read(1)
