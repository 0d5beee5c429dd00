"""Numbers for a cure, made of those that the log, the facts and the deployment give. Each takes what is known by name,
texts as the log had them, and gives None where that is not enough. Sizes in GiB, as the engine writes them."""

import math
from collections.abc import Callable, Mapping

from orchestrator.model import Scalar

Known = Mapping[str, Scalar]

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that the engine takes (vllm 26461)
_SPARE = 0.01  # of a card's memory: what is free changes a little from look to look


def _number(known: Known, *names: str) -> float | None:
    for name in names:
        value = known.get(name)
        if isinstance(value, bool) or value is None:
            continue
        try:
            number = float(str(value).replace(",", ""))
        except ValueError:
            continue
        if math.isfinite(number) and abs(number) < 1e15:
            return number
    return None


def longest(known: Known) -> int | None:
    """The largest context that fits: the engine's own estimate, or in proportion to the memory; rounded down, for a
    KV cache is made of blocks, and its size varies from start to start."""
    fits = _number(known, "estimate", "tokens")
    if fits is None:
        wanted, needed, there = (_number(known, name) for name in ("max_len", "needed", "available"))
        if wanted is None or not needed or there is None:
            return None
        fits = wanted * there / needed
    step = 256 if fits >= 2048 else 16
    return int(fits) // step * step or (int(fits) if fits >= 1 else None)


def model_limit(known: Known) -> int | None:
    limit = _number(known, "limit")
    return int(limit) if limit and limit >= 1 else None


def free_share(known: Known) -> float | None:
    """The share of a card, or of a computer's memory, that is free now."""
    free, total = _number(known, "free"), _number(known, "total")
    if free is None or not total:
        return None
    share = math.floor((free / total - _SPARE) * 100) / 100
    return share if 0 < share < 1 else None


def _share(known: Known) -> float:
    return _number(known, "share", "serve.gpu_memory_utilization") or 0.9


def more_share(known: Known) -> float | None:
    share = _share(known)
    return 0.95 if share < 0.95 else None


def less_share(known: Known) -> float | None:
    share = round(_share(known) - 0.05, 2)
    return share if share > 0 else None


def fewer_requests(known: Known) -> int | None:
    count = _number(known, "requests", "serve.args.max_num_seqs")
    return max(1, int(count) // 4) if count and count > 1 else None


def fewer_tokens(known: Known) -> int:
    count = _number(known, "serve.args.max_num_batched_tokens")
    return max(256, int(count or 4096) // 2)


def lora_rank(known: Known) -> int | None:
    rank = _number(known, "rank")
    return next((one for one in LORA_RANKS if rank is not None and one >= rank), None)


def divisor(known: Known) -> int | None:
    """The largest number of cards up to the wanted one among which the heads can be shared out."""
    heads, size = _number(known, "heads"), _number(known, "tp")
    if not heads or not size or heads < 1 or not 1 < size < 4096:
        return None
    return next(one for one in range(int(size), 0, -1) if int(heads) % one == 0)


def fewer_cards(known: Known) -> int | None:
    """The largest power of two up to the number of cards: it divides the heads of nearly every model."""
    seen = _number(known, "seen")
    return 1 << (int(seen).bit_length() - 1) if seen and 1 <= seen < 4096 else None


def more_cards(known: Known) -> int | None:
    """Twice as many, where there are: a power of two divides the heads of nearly every model."""
    there = _number(known, "cards")
    size, stages = (_number(known, f"serve.{axis}_parallel_size") or 1 for axis in ("tensor", "pipeline"))
    return 2 * int(size) if there and size >= 1 and 2 * size * stages <= there else None


def taken_port(known: Known) -> int | None:
    port = _number(known, "port", "serve.port")
    return int(port) if port and 0 < port < 65535 else None


def next_port(known: Known) -> int | None:
    port = taken_port(known)
    return port + 1 if port else None


def kv_space(known: Known) -> int | None:
    """Whole GiB for a KV cache of one request of the wanted length."""
    needed = _number(known, "needed")
    return max(1, math.ceil(needed)) if needed is not None and needed > 0 else None


def less_kv_space(known: Known) -> int | None:
    """Whole GiB: half of what is free, for the rest of the engine wants memory, too."""
    free = _number(known, "free")
    return int(free / 2) if free is not None and free >= 2 else None


def cuda(known: Known) -> str | None:
    """ "12.4" of CUDA's own 12040."""
    found = _number(known, "found")
    return f"{int(found) // 1000}.{int(found) % 1000 // 10}" if found and 9000 <= found < 100000 else None


def torch_backend(known: Known) -> str | None:
    version = cuda(known)
    return f"cu{version.replace('.', '')}" if version else None


def flag_name(known: Known) -> str | None:
    """A flag as a profile has it."""
    flag = str(known.get("flag") or "").split("=")[0].split("/")[-1].strip()
    return flag.lstrip("-").replace("-", "_") or None


def plain_method(known: Known) -> str | None:
    """The method without Marlin, whose kernels want newer cards."""
    method = str(known.get("method") or known.get("model.quantization") or "")
    return method.removesuffix("_marlin") if method.endswith("_marlin") else None


def longer(known: Known) -> str | None:
    """Twice the time, as a profile says it."""
    seconds = _number(known, "readiness.timeout")
    return f"{math.ceil(seconds / 30)}m" if seconds and seconds > 0 else None


AMOUNTS: Mapping[str, Callable[[Known], Scalar]] = {
    make.__name__: make
    for make in (
        longest,
        model_limit,
        free_share,
        more_share,
        less_share,
        fewer_requests,
        fewer_tokens,
        lora_rank,
        divisor,
        fewer_cards,
        more_cards,
        taken_port,
        next_port,
        kv_space,
        less_kv_space,
        cuda,
        torch_backend,
        flag_name,
        plain_method,
        longer,
    )
}
