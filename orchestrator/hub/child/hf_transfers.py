"""The hf_transfer package, for those who ask for it: whole files, fast, without resume and without a check, so that the
check is ours. It is given the last address of all redirects, for it would send a token along to wherever they lead."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import FetchFailed
from orchestrator.hub.child.download import hash_file
from orchestrator.hub.child.job import Tuning
from orchestrator.hub.child.sources import HttpSource, Remote
from orchestrator.hub.parts import map_file, part_file
from orchestrator.model import RemoteFile

if TYPE_CHECKING:
    from orchestrator.hub.child.fetch import Item

PIECE = 10 << 20
"""Bytes a request, as the Hub's client used to call it."""


def fetch_large(
    items: "Sequence[Item]",
    http: HttpSource,
    tuning: Tuning,
    on_bytes: Callable[[int], None],
    on_file: Callable[[RemoteFile, Path], None],
) -> "list[Item]":
    """Fetches the large files one after the other and answers the rest. Raises FetchFailed."""
    try:
        import hf_transfer
    except ImportError:
        why = "cache.transfer is hf_transfer, and that package is not installed where orch is"
        do = "run `pip install hf_transfer` there, or use cache.transfer: auto"
        raise FetchFailed("fetch", why, do) from None
    for item in (one for one in items if one.file.size > PIECE):
        what = f"fetch {item.file.path} of {item.want.repo}"
        part = item.blob.with_name(f"{item.blob.name}.hf_transfer")
        part.unlink(missing_ok=True)  # a killed one's: its bytes cannot be told from holes
        on_bytes(-item.state.here)
        counted = 0

        def came(count: int) -> None:
            nonlocal counted
            counted += count
            on_bytes(count)
            time.sleep(0.001)  # it holds the interpreter but for this call: let the one who reports run

        url, headers = http.locate(Remote(item.want.repo, item.want.commit, item.file))
        try:
            hf_transfer.download(
                url,
                str(part),
                max_files=tuning.connections,
                chunk_size=PIECE,
                parallel_failures=tuning.connections,
                max_retries=5,
                headers=headers,
                callback=came,
            )
        except Exception as error:  # what it raises is a bare Exception
            part.unlink(missing_ok=True)
            why = f"hf_transfer: {' '.join(str(error).split())[:200]}"
            raise FetchFailed(what, why, "use cache.transfer: auto, which resumes") from error
        if not hash_file(part, item.file, lambda _: None):
            part.unlink()
            raise FetchFailed(what, "hf_transfer brought other bytes than the Hub says", "use cache.transfer: auto")
        part.replace(item.blob)
        for unfinished in (map_file(item.blob), part_file(item.blob)):  # begun by another transfer
            unfinished.unlink(missing_ok=True)
        on_bytes(item.file.size - counted)  # it counts a byte too few in each piece
        on_file(item.file, item.blob)
    return [one for one in items if one.file.size <= PIECE]
