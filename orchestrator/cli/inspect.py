"""`orch inspect`: what a model is, whether it fits, and on how many cards."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.cli.subject import Subject
    from orchestrator.fit.inputs import Input
    from orchestrator.fit.inspection import Inspection
    from orchestrator.hub.describing import Form
    from orchestrator.model import RuntimeState


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A profile, a repository OWNER/NAME[:QUANT][@REVISION], its page on the Hub, a folder with a model, "
            "or a .gguf file.",
            autocompletion=options.complete_name,
        ),
    ],
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", metavar="NAME", help="On the cards that it declares, instead of these."),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", metavar="N", min=1, max=1024, help="As if there were so many of these cards."),
    ] = None,
    tensor: Annotated[
        int | None,
        typer.Option("--tensor-parallel-size", "-tp", metavar="N", min=1, help="As if it said so; likewise:"),
    ] = None,
    pipeline: Annotated[int | None, typer.Option("--pipeline-parallel-size", "-pp", metavar="N", min=1)] = None,
    max_model_len: Annotated[int | None, typer.Option("--max-model-len", metavar="TOKENS", min=1)] = None,
    kv_cache_dtype: Annotated[str | None, typer.Option("--kv-cache-dtype", metavar="DTYPE")] = None,
    utilization: Annotated[
        float | None, typer.Option("--gpu-memory-utilization", metavar="SHARE", min=0.01, max=1.0)
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants/--no-variants", help="Beside its other forms: AWQ, FP8, GPTQ, GGUF...")
    ] = True,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", metavar="REPO[:QUANT]", help="And beside this one. Repeatable.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Count its tokens, in the runtime of the environment, which has to be there; - is standard input. "
            "Repeatable.",
        ),
    ] = None,
    expected: Annotated[
        int, typer.Option("--expect-output", metavar="N", min=0, help="Tokens to keep free for the answer.")
    ] = 0,
    given: options.Set = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show what a model is, and whether it fits.

    Its architecture, what its weights and its KV cache take of each card, line by line with where each number is from,
    how many cards it needs and the smallest change that would make it fit; its other forms side by side, and which of
    them to serve. Reads a few kilobytes, downloads no weights and starts no engine."""
    from orchestrator.cli.subject import subject

    read = _inputs(inputs or ())
    here, one = subject(what, environment, given or (), root, state_dir)
    _check(here, one, kv_cache_dtype, variant or ())
    state = _ready(here, one) if read else None
    changed = {
        "tensor": tensor, "pipeline": pipeline, "max_model_len": max_model_len, "kv_cache_dtype": kv_cache_dtype,
        "utilization": utilization,
    }  # fmt: skip
    asked = {name: value for name, value in changed.items() if value is not None}
    found = _inspected(here, one, asked, gpus, variant or (), all_of_them=variants)
    trouble = None
    if state and found.readable:
        found, trouble = _with_tokens(here, one, found, read, expected, state)
    _show(found, output)
    if trouble:
        raise trouble
    _refuse_unreadable(found)
    return 0


def _check(here: "Context", one: "Subject", kv_cache_dtype: str | None, named: "Sequence[str]") -> None:
    """What is asked for on the command line alone: it is in no file that somebody else would check. Raises
    UsageProblem."""
    from orchestrator.checks import is_repo
    from orchestrator.engines.values import check_value
    from orchestrator.errors import UsageProblem

    for name in named:
        if "/" not in name or not is_repo(name):
            raise UsageProblem(f"use --variant {name}", "it is no repository", "write OWNER/NAME or OWNER/NAME:QUANT")
    engine = one.engine(here) if kv_cache_dtype else None
    flag = engine.find("kv_cache_dtype") if engine else None
    if engine and flag and check_value(flag, kv_cache_dtype):
        why = f"vllm {engine.version} has no such cache"
        raise UsageProblem(
            f"use --kv-cache-dtype {kv_cache_dtype}", why, f"there is {', '.join(map(str, flag.choices))}"
        )


def _inspected(
    here: "Context",
    one: "Subject",
    asked: "Mapping[str, Any]",
    gpus: int | None,
    named: "Sequence[str]",
    *,
    all_of_them: bool,
) -> "Inspection":
    from dataclasses import replace

    from orchestrator import inspecting
    from orchestrator.fit.inspection import inspection
    from orchestrator.fit.use import uncounted, use_of

    cards = one.cards(here)
    if cards and gpus:
        cards = replace(cards, count=gpus)
    found = inspecting.described(one.wanted, here.describer)
    looked: tuple[Form, ...] = ()
    trouble = ""
    if named or (all_of_them and one.wanted.spec.model.repo and found.error is None):
        looked, trouble = inspecting.forms(one.wanted, found, named, here.describer, all_of_them=all_of_them)
    use = replace(use_of(one.wanted.spec, one.engine(here)), **asked)
    return inspection(
        one.wanted.spec.model.label,
        found,
        use,
        cards,
        looked,
        one.engine(here, certain=True),
        free=not one.sized and not {"tensor", "pipeline"} & asked.keys(),
        trouble=trouble,
        uncounted=uncounted(one.wanted.spec, one.engine(here)),
        learnt=lambda use: inspecting.learnt(one.wanted, use, cards, one.engine(here), here.eyes) if cards else None,
    )


def _show(found: "Inspection", output: options.Output) -> None:
    from orchestrator.fit.inspection_text import inspection_json, inspection_text
    from orchestrator.render import document

    if output is options.Output.JSON:
        typer.echo(document(inspection_json(found)))
    else:
        typer.echo("\n".join(inspection_text(found)))


def _refuse_unreadable(found: "Inspection") -> None:
    from orchestrator.errors import InputError

    if found.readable:
        return
    if found.found.error:
        raise found.found.error
    why = "; ".join(found.found.notes[:3]) or "it holds neither a config.json nor weights"
    raise InputError(f"tell what {found.what} is", why)


# ------------------------------------------------------------------------------------------------------------- tokens


def _inputs(files: "Sequence[str]") -> "list[Input]":
    """Read before anything else: the wrong file is told at once."""
    import sys
    from pathlib import Path

    from orchestrator.errors import InputError
    from orchestrator.fit.inputs import read_inputs

    found: list[Input] = []
    for file in files:
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise InputError(f"count {file}", (error.strerror or str(error)).lower()) from error
        found += read_inputs("standard input" if file == "-" else file, data)
    return found


def _ready(here: "Context", one: "Subject") -> "RuntimeState":
    """Told before a person reads a long answer that lacks what was asked for. Raises RuntimeFailure."""
    from orchestrator.cli.events import Console
    from orchestrator.runtimes.tokens import ready

    console = Console()
    try:
        state = one.looked_into(here, console.say)
    finally:
        console.close()
    ready(one.wanted.spec.runtime, state)
    return state


def _with_tokens(
    here: "Context",
    one: "Subject",
    found: "Inspection",
    inputs: "Sequence[Input]",
    expected: int,
    state: "RuntimeState",
) -> "tuple[Inspection, Exception | None]":
    """What went wrong comes back, for the rest of the answer stands without it."""
    import os
    from dataclasses import replace

    from orchestrator import inspecting
    from orchestrator.cli.events import Console
    from orchestrator.errors import OrchError

    console = Console()
    try:
        counted = inspecting.counted(
            one.wanted, found.found, inputs, expected, state, lambda: here.world(console).weights, console, os.environ
        )
    except OrchError as error:
        return found, error
    finally:
        console.close()
    return replace(found, counted=counted), None
