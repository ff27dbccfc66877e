"""A clock that is wrong, for a refresh and everything that it starts; it may jump while they run.

Only the time of day is off, as after a step of NTP. (libfaketime turns the other clocks too, on which timeouts then
hang; told not to, it lets Python's sleep fail.) It is a few lines of C: without a compiler, tests that need
it are skipped, unless REQUIRE_CLOCK=1 says that they must run.
"""

import os
import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest


class Clock:
    """What processes with its environment take for now: the machine's clock, and so much before or after it.

    Args:
        folder: For the library, and for the file that says how far it is off.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            reason = "there is no C compiler to make a wrong clock with; on Debian: apt-get install gcc libc6-dev"
            if os.environ.get("REQUIRE_CLOCK") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        self._library, self._file = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.c")
        command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(self._library), str(source)]
        subprocess.run([*command, "-lpthread"], check=True)
        self._file.write_bytes(bytes(8))

    def set(self, off: timedelta) -> None:
        """Lets it jump: from now on it is so far ahead, or behind."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", round(off.total_seconds())))

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process believe it."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFF_BY": str(self._file)}
