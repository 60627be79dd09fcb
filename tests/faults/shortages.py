"""A full disk, a folder that is read-only, files and memory with a limit, two processes at once."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.children import Child, Ended, call
from tests.faults.kills import Counts, Reference, fresh, last

NOBODY = 65534
MEGABYTE = 2**20


def _meets(counts: Counts, ended: Ended) -> bool:
    """Count a command under a shortage; whether it got to its end all the same."""
    counts.faults += 1
    if ended.code == 0:
        return True
    if ended.tells_in_one_line:
        counts.refused += 1
    else:
        counts.wrong.append(f"ended with {ended.code}: {last(ended)}")
    return False


def _goes_on(reference: Reference, folder: Path, counts: Counts) -> None:
    """Without the shortage the job is carried to the end of an unbroken one."""
    ended = call(reference.job.words(folder), folder)
    reference.compare(folder, ended, counts)


def starved(
    reference: Reference, scratch: Path, name: str, limits: Sequence[Callable[[], None]]
) -> Counts:
    """A job under each of the limits, which are called in its process."""
    job = reference.job
    counts = Counts(f"{job.name}, {name}")
    for limit in limits:
        folder = fresh(job, reference.home, scratch / job.name)
        if not _meets(counts, call(job.words(folder), folder, starve=limit)):
            _goes_on(reference, folder, counts)
    return counts


def limited_files(kilobytes: Sequence[int]) -> list[Callable[[], None]]:
    """``ulimit -f``: no file can be larger."""

    def limit(size: int) -> Callable[[], None]:
        def starve() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * size, 1024 * size))

        return starve

    return [limit(size) for size in kilobytes]


def limited_memory(megabytes: Sequence[int]) -> list[Callable[[], None]]:
    """``ulimit -v``: so much beyond what the process has before it begins."""

    def limit(more: int) -> Callable[[], None]:
        def starve() -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            size = pages * resource.getpagesize() + more * MEGABYTE
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        return starve

    return [limit(more) for more in megabytes]


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A tmpfs of so many kilobytes in the folder's place; OSError where that is not allowed."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=755", "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(reference: Reference, scratch: Path, kilobytes: Sequence[int]) -> Counts:
    """A job on disks that have room for less and less of it; then the disk grows."""
    job = reference.job
    counts = Counts(f"{job.name}, full disk")
    for size in kilobytes:
        folder = scratch / f"{job.name}-disk-{size}"
        with small_disk(folder, 20 * 1024):
            job.prepare(reference.home, folder)
            used = int(subprocess.check_output(["du", "-sk", str(folder)]).split()[0])
            _resize(folder, used + size)
            if not _meets(counts, call(job.words(folder), folder)):
                _resize(folder, 20 * 1024)
                _goes_on(reference, folder, counts)
    return counts


def _resize(folder: Path, kilobytes: int) -> None:
    option = f"remount,size={kilobytes}k"
    subprocess.run(["mount", "-o", option, str(folder)], check=True)


def read_only(reference: Reference, scratch: Path) -> Counts:
    """A job of an ordinary user in a folder of somebody else's."""
    job = reference.job
    counts = Counts(f"{job.name}, read-only folder")
    folder = fresh(job, reference.home, scratch / job.name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def ordinary() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    before = sorted(folder.rglob("*"))
    _meets(counts, call(job.words(folder), folder, starve=ordinary))
    if sorted(folder.rglob("*")) != before:
        counts.wrong.append("files came or went")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _goes_on(reference, folder, counts)
    return counts


def two_at_once(reference: Reference, scratch: Path, times: int) -> Counts:
    """Two processes with one folder: one of them does the work, the other says so or waits."""
    job = reference.job
    counts = Counts(f"{job.name}, two processes")
    for _ in range(times):
        folder = fresh(job, reference.home, scratch / job.name)
        children = [Child(job.words(folder), folder) for _ in range(2)]
        ended = [child.wait() for child in children]
        counts.faults += 1
        if not any(one.code == reference.ended.code for one in ended):
            counts.wrong.append(f"neither got through: {[last(one) for one in ended]}")
        for one in ended:
            if one.code != reference.ended.code:
                counts.refused += one.tells_in_one_line
                if not one.tells_in_one_line:
                    counts.wrong.append(f"ended with {one.code}: {last(one)}")
        _goes_on(reference, folder, counts) if job.name != "training" else reference.compare(
            folder, reference.ended, counts
        )
    return counts
