"""Two hosts on one machine: network namespaces, each with an address of its own, and a cable between them.

What runs in one of them sees no other network than that cable, so it can be pulled, and a host can lose its power.
Needs Linux, iproute2 and the rights of root; :func:`why_not` says what is missing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

DEVICE = "eth0"
NUMBERS = itertools.count()


def why_not() -> str:
    """Why there can be no such hosts here; empty where there can."""
    if shutil.which("ip") is None:
        return "network namespaces need iproute2, which is not installed"
    probe = f"lr-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""


def ip(*words: str) -> str:
    """Run ``ip``; an error shows what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert not done.returncode, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Host:
    """One namespace.

    Attributes:
        name: of the namespace.
        address: its own, on the cable.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.started: list[subprocess.Popen[str]] = []
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")

    def start(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
        """Start a program on this host; both its streams go to the file."""
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": DEVICE, **environment}
        with log.open("a") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        self.started.append(process)
        return process

    def unplug(self) -> None:
        """Pull the cable: nothing comes in, nothing goes out, no connection is closed."""
        ip("-n", self.name, "link", "set", DEVICE, "down")

    def plug(self) -> None:
        """Put it back."""
        ip("-n", self.name, "link", "set", DEVICE, "up")

    def kill(self) -> None:
        """SIGKILL to every process on this host; the others see their connections closed."""
        while pids := ip("netns", "pids", self.name).split():
            for pid in map(int, pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for process in self.started:
            process.wait()
        self.started = []

    def lose_power(self) -> None:
        """As :meth:`kill`, but the others see nothing at all."""
        self.unplug()
        self.kill()

    def remove(self) -> None:
        self.kill()
        ip("netns", "del", self.name)


class TwoHosts:
    """A context: both hosts and the cable, removed at the end whatever happened."""

    def __enter__(self) -> tuple[Host, Host]:
        prefix = f"lr-{os.getpid()}-{next(NUMBERS)}"
        self.hosts: list[Host] = []
        try:
            for number in (1, 2):
                self.hosts.append(Host(f"{prefix}-{number}", f"10.77.0.{number}"))
            one, other = self.hosts
            ip("-n", one.name, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", other.name)
            for host in self.hosts:
                ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", DEVICE)
                host.plug()
        except BaseException:
            self.__exit__()
            raise
        return one, other

    def __exit__(self, *error: Any) -> None:
        for host in self.hosts:
            host.remove()
