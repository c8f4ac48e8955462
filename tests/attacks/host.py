"""The host of an attack run: a process of its own, since it drops rights for good.

    python tests/attacks/host.py root_a|user_a|user_b|no_landlock [chosen]

Prints one JSON line per case, the last one with the tier and the number of failures.
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import extra
from cases import ALL, CHOSEN, PRELUDE, Case
from PIL import Image

from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, linux, seccomp
from agentic_vlm.sandbox.process import ProcessSandbox

ROOT = Path(__file__).resolve().parents[2]
MODES = ("root_a", "user_a", "user_b", "no_landlock")
UID = 54321

PARAMS = SandboxParams(
    cell_cpu_s=1.0,
    cell_wall_s=1.0,
    session_cpu_s=30.0,
    memory_mb=400,
    file_mb=16,
    box_mb=32,
    max_output_chars=200_000,
    max_value_chars=20_000,
    max_images_per_cell=16,
    num_spares=1,
)


def enter_mode(mode: str) -> None:
    """Become what the mode says: an ordinary user, without namespaces, without Landlock."""
    if mode != "root_a" and os.getuid() == 0:
        _open_private_folders([Path(sys.base_prefix), Path(sys.prefix), ROOT])
    if mode == "user_b":
        # What Docker's default filter refuses: namespaces and mounts; clone3 is hidden.
        refused = (272, 308, 165, 166, 155, 428, 429, 430, 431, 432, 433, 442)
        refused_arm = (97, 268, 40, 39, 41, 428, 429, 430, 431, 432, 433, 442)
        is_x86 = linux.MACHINE == "x86_64"
        _filter(refused if is_x86 else refused_arm, 1)
        _filter((435,), 38)
    if mode == "no_landlock":
        _filter((444, 445, 446), 38)
    if mode != "root_a" and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)


def _open_private_folders(wanted: list[Path]) -> None:
    """Make Python and the project reachable for a user, in this process's view of the disk."""
    hidden: dict[Path, list[Path]] = {}
    for path in {one.resolve() for one in wanted} | set(wanted):
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                hidden.setdefault(folder, []).append(path)
                break
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    for folder, paths in hidden.items():
        held = {path: os.open(path, os.O_PATH) for path in paths}
        linux.mount("tmpfs", str(folder), "tmpfs", 0, "size=1m,mode=755")
        for path in sorted(held):
            path.mkdir(parents=True, exist_ok=True)
            linux.mount(f"/proc/self/fd/{held[path]}", str(path), "", linux.MS_BIND | linux.MS_REC)


def _filter(numbers: tuple[int, ...], error: int) -> None:
    op = struct.Struct("<HBBI")
    program = op.pack(0x20, 0, 0, 0)
    for number in numbers:
        program += op.pack(0x15, 0, 1, number) + op.pack(0x06, 0, 0, 0x00050000 | error)
    program += op.pack(0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program, len(program))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    linux.call(317 if linux.MACHINE == "x86_64" else 277, 1, 0, header)


@dataclass
class Canaries:
    """What no case may touch."""

    folder: Path
    tcp: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    datagram: socket.socket = field(
        default_factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    )
    abstract: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))
    process: "subprocess.Popen[bytes]" = field(
        default_factory=lambda: subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"], stdin=subprocess.DEVNULL
        )
    )

    def __post_init__(self) -> None:
        self.file = self.folder / "canary"
        self.file.write_text("untouched")
        self.file.chmod(0o644)
        self.socket_file = str(self.folder / "datagram")
        self.datagram.bind(self.socket_file)
        os.chmod(self.socket_file, 0o777)
        self.name = f"\0canary-{os.getpid()}"
        self.abstract.bind(self.name)
        self.abstract.listen()
        for listener in (self.tcp, self.datagram, self.abstract):
            listener.setblocking(False)
        self._state = self._look()

    def _look(self) -> tuple[object, ...]:
        status = self.file.stat()
        return (self.file.read_bytes(), status.st_mode, status.st_mtime, status.st_uid,
                sorted(os.listdir(self.folder)))  # fmt: skip

    @property
    def prelude(self) -> str:
        """The cell that tells a case where its targets are."""
        port = self.tcp.getsockname()[1]
        return PRELUDE + (
            f"CAN={str(self.file)!r}; PORT={port}; DGRAM={self.socket_file!r}; "
            f"PID={self.process.pid}; ABSTRACT={self.name!r}"
        )

    def damage(self) -> Iterator[str]:
        """Name what was touched."""
        try:
            if self._look() != self._state:
                yield f"the canary file changed: {self._look()}"
        except OSError as error:
            yield f"the canary file is gone: {error}"
        for name, listener in (("TCP", self.tcp), ("abstract", self.abstract)):
            try:
                listener.accept()
                yield f"the {name} listener was reached"
            except BlockingIOError:
                pass
        with contextlib.suppress(BlockingIOError):
            yield f"the datagram socket received {self.datagram.recv(64)!r}"
        if self.process.poll() is not None:
            yield "the canary process died"

    def close(self) -> None:
        """End the canary process and the listeners."""
        self.process.kill()
        self.process.wait()
        for listener in (self.tcp, self.datagram, self.abstract):
            listener.close()


async def run_case(case: Case, sandbox: ProcessSandbox, canaries: Canaries) -> list[str]:
    """Run a case in a session of its own and name what is not as it must be."""
    session = await sandbox.open([Image.new("RGB", (9, 9), "red")], seed=1)
    try:
        await session.run_cell(canaries.prelude)
        result = await session.run_cell(case.code)
        faults = []
        if not _holds(case, result, sandbox.tier):
            faults.append(
                f"unexpected: {result.status.value} {result.error_class} {result.value[:300]!r} "
                f"{result.stdout[:200]!r} {result.stderr[-400:]!r} {result.is_session_lost}"
            )
        after = await session.run_cell(case.after)
        if after.value != case.after_value and not result.is_session_lost:
            faults.append(f"afterwards {case.after!r} gave {after.value!r} {after.stderr[-200:]!r}")
        return faults
    finally:
        await session.close()


def _holds(case: Case, result: CellResult, tier: str) -> bool:
    try:
        return case.check(result, tier)
    except (ValueError, KeyError):
        return False


async def run_all(cases: list[Case], *, has_extra: bool) -> int:
    """Run the cases and print what became of each."""
    num_failed = 0
    sandbox = ProcessSandbox(PARAMS)
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        os.chmod(name, 0o777)
        canaries = Canaries(Path(name))
        try:
            victim = await sandbox.open([], seed=0)
            await victim.run_cell("holder = {'secret': 'the victim'}")
            server, tier = sandbox.server_pid, sandbox.tier
            runs = [
                (case.name, functools.partial(run_case, case, sandbox, canaries)) for case in cases
            ]
            if has_extra:
                runs += [(test.__name__, functools.partial(test, sandbox)) for test in extra.TESTS]
            for name, run in runs:
                faults = await run()
                faults += list(canaries.damage())
                still = await victim.run_cell("holder['secret']")
                if still.value != "'the victim'":
                    faults.append(f"the victim answered {still.value!r} {still.stderr!r}")
                if sandbox.server_pid != server:
                    faults.append("the fork server was replaced")
                num_failed += bool(faults)
                print(json.dumps({"case": name, "faults": faults}), flush=True)
        finally:
            canaries.close()
            await sandbox.close()
    summary = {"tier": tier, "num_failed": num_failed, "num_cases": len(runs)}
    print(json.dumps(summary), flush=True)
    return num_failed


def main() -> int:
    """Run as the command line says."""
    mode = sys.argv[1]
    is_short = "chosen" in sys.argv[2:]
    os.environ["API_TOKEN"] = "TOKEN-of-the-host"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        enter_mode(mode)
    except OSError as error:
        print(json.dumps({"refused": str(error)}))
        return 0
    cases = [case for case in ALL if not is_short or case.name in CHOSEN]
    if not seccomp.is_supported() or linux.MACHINE != "x86_64":
        cases = [case for case in cases if not case.is_x86_only]
    only = [one for one in sys.argv[2:] if one != "chosen"]
    if only:
        cases = [case for case in cases if case.name in only]
    return asyncio.run(run_all(cases, has_extra=not is_short and not only))


if __name__ == "__main__":
    sys.exit(main() and 1)
