"""A plan as a comment on a pull request. The texts are in golden/markdown; UPDATE_GOLDEN=1 writes them anew."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import golden
import pytest
from builders import BUILT, refused, remembered, running, seen, wanted, weights
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.markdown import LIMIT, MARKER, markdown
from orchestrator.model import Gpu, Inventory, Laid, Mend, Phase, RuntimeState
from orchestrator.plan import Held, Plan
from orchestrator.reconcile import Options, reconcile, take_down

FIELDS = {"max_model_len": 40960, "secrets": {"HF_TOKEN": "k1:aa"}, "env": {"VLLM_LOGGING_LEVEL": "INFO"}}
Q = wanted(**FIELDS)
UP, KNOWN = running(Q), remembered(Q)
CHANGED = wanted(**FIELDS | {"max_model_len": 32768, "secrets": {"HF_TOKEN": "k1:bb"}, "env": {"A": "1"}})
CARD = Gpu(0, "GPU-aaaa", "RTX 6000 Ada Generation", 48 << 30)
MEND = Mend(
    "lab", Laid("/home/u/lib", "/usr/lib/libcuda.so.1"), {}, {"LD_LIBRARY_PATH": "/home/u/lib"}, ("no libcuda",)
)

PLANS: dict[str, Callable[[], Plan]] = {
    "new": lambda: reconcile([Q], replace(seen(weights={"qwen": (weights(here=0, missing=14),)}))),
    "unchanged": lambda: reconcile([Q], seen([UP], [KNOWN])),
    "changed": lambda: reconcile([CHANGED], seen([UP], [KNOWN])),
    "held": lambda: reconcile([CHANGED], seen([UP], [remembered(Q, rejected=(refused(CHANGED),))])),
    "recorded": lambda: reconcile([wanted(**FIELDS, timeout=600.0)], seen([UP], [KNOWN])),
    "awaited": lambda: reconcile([Q], seen([running(Q, phase=Phase.STARTING)], [remembered(Q, ready=False)])),
    "delete": lambda: take_down(["qwen"], seen([UP], [KNOWN]), forget=True),
    "cards-and-a-mend": lambda: reconcile(
        [wanted(gpus=1)], replace(seen(), inventory=Inventory((CARD,)), mends={"qwen": MEND})
    ),
    "several": lambda: reconcile(
        [wanted("alpha", port=8003), wanted("beta", port=8001, runtime=BUILT), wanted("gamma", port=8002), Q],
        seen(
            [UP, running(wanted("gamma", port=8002), pid=5000), running(wanted("old", port=8009), pid=6000)],
            [KNOWN, remembered(wanted("gamma", port=8002))],
            {"beta": RuntimeState("buildable")},
        ),
        Options(replace=("old",), restart=frozenset({"gamma"})),
    ),
}

NASTY = (
    "`",
    "``` ",
    "~~~",
    "</details>",
    "<script>alert(1)</script>",
    "<!-- orch plan -->",
    "-->",
    "@everyone",
    "[x](javascript:y)",
    "\n\n# heading\n\n",
    "\r\n",
    "|",
    "\u202e",
    "\u2028",
    "\x1b[31m",
    "\udc80",
    "&lt;",
)


@pytest.mark.parametrize("name", PLANS)
def test_comment(name: str) -> None:
    golden.check("markdown", name, markdown(PLANS[name](), "lab"))


def test_a_comment_for_a_declared_host_says_so() -> None:
    golden.check("markdown", "declared", markdown(PLANS["new"](), "lab", "rtx6000-ada"))


def test_every_text_has_its_case() -> None:
    assert golden.unused("markdown", {*PLANS, "declared"}) == set()


@pytest.mark.parametrize("name", PLANS)
def test_no_comment_shows_a_secrets_hash(name: str) -> None:
    assert not re.search("k1:(aa|bb)", markdown(PLANS[name](), "lab"))


def test_the_first_line_is_the_marker_and_it_stands_alone() -> None:
    plan = reconcile([wanted(MARKER, env={"A": MARKER})], seen())
    lines = markdown(plan, MARKER, MARKER).split("\n")
    assert lines[:2] == [MARKER, ""]
    assert list(outside("\n".join(lines[1:]))).count(MARKER) == 0


# ------------------------------------------------------------------------------------------------------- injection


def outside(text: str) -> Iterator[str]:
    """The lines outside of code blocks, with code spans cut out: what is read as Markdown or as HTML."""
    fence = ""
    for line in text.split("\n"):
        if fence:
            fence = "" if line == fence else fence
        elif opened := re.fullmatch("(`{3,})(text|diff)", line):
            fence = opened[1]
        else:
            yield re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", line)
    assert not fence, "a code block is left open"


OURS = re.compile(
    r"(<details><summary>[a-z ]+ <code>[^<>]*</code></summary>|</details>"
    r"|### Plan of ( for the host of , as if nothing ran there)?"
    r"|\*\*[0-9]+ to [0-9a-z, ]+\*\*|\*\*(Steps|GPUs)\*\*[a-z, ]*|[A-Z][A-Za-z ,()]+[:;.]?[a-z ]*\.?|)"
)


def from_orch_alone(text: str) -> bool:
    first, *rest = text.split("\n")
    return first == MARKER and all(OURS.fullmatch(line) for line in outside("\n".join(rest)))


@pytest.mark.parametrize("name", PLANS)
def test_the_golden_texts_are_orchs_own_outside_of_code(name: str) -> None:
    assert from_orch_alone(markdown(PLANS[name](), "lab", "ada"))


@given(st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=5)), min_size=1, max_size=6).map("".join))
def test_nothing_of_a_name_or_a_value_is_read_as_markdown_or_html(nasty: str) -> None:
    before = wanted(nasty, repo=nasty, env={nasty: "1"})
    plan = reconcile(
        [wanted(nasty, repo=f"x{nasty}", env={nasty: nasty}, names=(nasty,))],
        seen([running(before)], [remembered(before)], weights={nasty: (weights(nasty, here=0, missing=1),)}),
    )
    told = replace(plan, held=(Held(nasty, nasty, nasty),), warnings=(nasty,), unchanged=(nasty,))
    text = markdown(told, nasty, nasty)
    assert from_orch_alone(text), text
    assert text.replace("\n", "").isprintable()
    text.encode()


def test_a_plan_of_many_fits_into_a_comment_and_counts_what_is_left_out() -> None:
    many = [wanted(f"d{number:04}", port=10_000 + number, env={"LONG": "x" * 300}) for number in range(400)]
    text = markdown(reconcile(many, seen()), "lab")
    assert len(text) <= LIMIT
    shown = text.count("<details>")
    assert shown > 20
    assert f"And {400 - shown} more, which do not fit" in text
    assert "**400 to start, 0 to restart, 0 unchanged, 0 held**" in text
    assert text.count("\n```") % 2 == 0


def test_one_long_value_does_not_crowd_out_the_rest() -> None:
    text = markdown(reconcile([wanted(env={"LONG": "x" * 100_000})], seen()), "lab")
    assert len(text) < 3000
    assert "**Steps**" in text
