"""Run by the engine's own Python: loads each model folder given, as a server would, and prints what it then holds. A
JSON object a line: {"bytes": of all parameters, "tokens": of KV cache as the engine reports it} or {"error": TEXT}.
"""

import gc
import json
import os
import sys
from typing import Any

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
               "HF_HUB_OFFLINE": "1"}  # fmt: skip


def weigh(folder: str) -> dict[str, Any]:
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    try:
        llm = LLM(
            folder,
            skip_tokenizer_init=True,
            enforce_eager=True,
            dtype="bfloat16",
            disable_log_stats=True,
            max_num_batched_tokens=2048,
            max_num_seqs=128,
        )  # a server's own defaults, which differ here
        model = llm.llm_engine.model_executor.driver_worker.worker.model_runner.model
        own = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in model.parameters()}
        # What it logs as "KV cache size", which is logged once a process for equal sizes.
        return {"bytes": sum(own.values()), "tokens": llm.llm_engine.vllm_config.cache_config.kv_cache_size_tokens}
    except Exception as error:  # noqa: BLE001 (whatever it is, the others are weighed all the same)
        return {"error": f"{type(error).__name__}: {error}"[:2000]}
    finally:
        llm = model = None
        gc.collect()
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    for one in sys.argv[1:]:
        print("\n" + json.dumps(weigh(one)), flush=True)  # noqa: T201 (its answer)
