"""What a person sees of engines' logs. The multiplexed form is in golden/logs; UPDATE_GOLDEN=1 writes it anew."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import log_view
from orchestrator.diagnosis.mask import mask
from orchestrator.log_view import Choice, Shown, Times, View, first_stamp, prefixes, together

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
BEGUN = datetime(2026, 11, 23, 10, 0)
BAR = "Loading safetensors checkpoint shards: {}% Completed | {}/4 [00:00<00:01, 3.2it/s]"


def seen(text: str | bytes, choice: Choice | None = None, begun: datetime = BEGUN, secrets: Iterable[str] = ()) -> str:
    view = View(choice or Choice(), begun, lambda text: mask(text, tuple(secrets)))
    chunk = text.encode() if isinstance(text, str) else text
    return "".join(shown.text for shown in [*view.feed(chunk), *view.end()])


def info(text: str, at: str = "11-23 10:25:42", level: str = "INFO", pid: int = 7) -> str:
    return f"(EngineCore pid={pid}) {level} {at} [core.py:1] {text}\n"


# ----------------------------------------------------------------------------------------------------- progress bars


def test_of_a_bar_only_the_last_state_must_be_seen_however_it_is_drawn() -> None:
    states = [BAR.format(25 * done, done) for done in range(5)]
    for end in ("\r", "\n", "\n\r"):
        assert seen(info("one") + end.join(states) + "\n" + info("two")) == info("one") + states[-1] + "\n" + info(
            "two"
        )


def test_a_bar_that_begins_anew_must_be_another_one() -> None:
    first, second = [BAR.format(at, 1) for at in (0, 100)], [BAR.format(at, 2) for at in (0, 100)]
    assert seen("\n".join([*first, *second])) == f"{first[-1]}\n{second[-1]}\n"
    other = "Capturing CUDA graphs:  10%|\u2588   | 7/67 [00:00<00:05, 11.2it/s]"
    assert seen(f"{first[0]}\n{other}\n{first[1]}\n") == f"{first[0]}\n{other}\n{first[1]}\n"


def test_a_bar_without_an_end_must_be_a_bar_too() -> None:
    assert seen("Rendering: 1it [00:00, 3.1it/s]\rRendering: 12it [00:04, 3.0it/s]\rdone\n") == "done\n"


@pytest.mark.parametrize(
    "text", [info(BAR.format(50, 2)), "throughput: 12 it/s\n", "it is 50%\n", "75%\n", "a | b [c]\n"]
)
def test_what_only_looks_like_one_must_be_seen_each_time(text: str) -> None:
    assert seen(text * 3) == text * 3


def test_a_bar_that_goes_on_must_be_told_to_who_draws_it_and_seen_once_a_line_comes() -> None:
    view = View(Choice(), BEGUN)
    assert view.feed(f"\r{BAR.format(0, 0)}\r{BAR.format(25, 1)}".encode()) == []
    assert view.drawn == BAR.format(25, 1)
    assert view.feed(f"\n{BAR.format(50, 2)}\n".encode()) == []
    assert view.drawn == BAR.format(50, 2)
    assert [shown.text for shown in view.feed(b"next\n")] == [f"{BAR.format(50, 2)}\n", "next\n"]
    assert view.drawn == ""
    view.feed(b"half a li")
    assert view.drawn == ""


def test_a_line_without_end_must_not_be_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_view, "LONGEST", 1000)
    view = View(Choice(), BEGUN)
    bars = "".join(f"\r{BAR.format(25, 1)}" for _ in range(100))
    assert view.feed(bars.encode()) == []
    assert view.drawn == BAR.format(25, 1)
    assert "".join(shown.text for shown in [*view.feed(b"\n" + b"x" * 2500), *view.end()]).count("x") == 2500


PIECES = st.lists(
    st.sampled_from(
        ["one", "two three", "", "caf\u00e9", info("x").rstrip(), "{bar}", "{bar}\r{bar}", "{bar}\rsaid", "a\r"]
    )
)


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 400)), percents=st.lists(st.integers(0, 100)))
def test_no_line_but_bars_must_be_lost_or_move_wherever_it_is_cut(
    pieces: list[str], cuts: list[int], percents: list[int]
) -> None:
    steps = iter([*percents, *[50] * 100])
    text = "".join(re.sub(r"\{bar\}", lambda _: BAR.format(next(steps), 1), piece) + "\n" for piece in pieces)
    whole = text.encode()
    view, points = View(Choice(), BEGUN), sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    shown = [one for start, end in pairwise(points) for one in view.feed(whole[start:end])]
    lines = "".join(one.text for one in [*shown, *view.end()]).split("\n")[:-1]
    expected = [line.split("\r")[-1] or line.strip("\r") for line in text.split("\n")[:-1]]
    assert [line for line in lines if "Completed" not in line] == [one for one in expected if "Completed" not in one]
    assert len([line for line in lines if "Completed" in line]) <= len([one for one in expected if "Completed" in one])
    assert seen(whole, Choice(raw=True)).encode() == whole


def test_a_recorded_log_must_lose_nothing_but_the_first_state_of_its_bar() -> None:
    text = (RECORDED / "vllm-0.32-cpu-ready.log").read_bytes().decode()
    shown = seen(text).splitlines()
    plain = [line.strip("\r") for line in text.split("\n")]
    assert [line for line in plain if line not in shown] == [line for line in plain if "0% Completed" in line][:1]


# ------------------------------------------------------------------------------------------------- what is left out


def test_control_codes_must_go_unless_they_are_wanted() -> None:
    text = "\x1b[32mINFO\x1b[0m 11-23 10:25:42 [core.py:1] green\n"
    assert seen(text) == "INFO 11-23 10:25:42 [core.py:1] green\n"
    assert seen("\x1b[31mred\n", Choice(codes=True)) == "\x1b[31mred\x1b[0m\n"
    assert seen(text, Choice(codes=True, grep=re.compile("^INFO 11-23"))).startswith("\x1b[32m")


def test_secrets_must_not_be_seen_in_any_form() -> None:
    text = "key s3cr3t-value and hf_abcdefghijklmnopqrst\nAuthorization: Bearer abc.def\nsame\n"
    for choice in (Choice(), Choice(raw=True), Choice(codes=True), Choice(grep=re.compile("."))):
        shown = seen(text, choice, secrets=["s3cr3t-value"])
        assert shown == "key *** and hf_***\nAuthorization: Bearer ***\nsame\n"
    assert seen(text, Choice(grep=re.compile("s3cr3t")), secrets=["s3cr3t-value"]) == ""
    view = View(Choice(), BEGUN, lambda text: mask(text, ["s3cr3t-value"]))
    view.feed(f"s3cr3t-value {BAR.format(25, 1)}".encode())
    assert view.drawn == f"*** {BAR.format(25, 1)}"


def test_raw_must_be_byte_for_byte() -> None:
    text = b"a\rb\r\n\xff\x1b[1m\n\nend without a line feed"
    view = View(Choice(raw=True), BEGUN)
    shown = "".join(one.text for one in [*view.feed(text), *view.end()])
    assert shown.encode(errors="surrogateescape") == text


# ------------------------------------------------------------------------------------------------------------- times


def test_lines_without_a_stamp_must_belong_to_the_one_before() -> None:
    text = "head\n" + info("one", "11-23 10:25:42") + "  more\n" + info("two", "11-23 10:30:00") + "last\n"
    since = Choice(since=datetime(2026, 11, 23, 10, 30))
    assert seen(text, since) == info("two", "11-23 10:30:00") + "last\n"
    assert seen(text, Choice(since=datetime(2026, 11, 23, 9, 59))) == text
    assert seen(text, Choice(since=datetime(2026, 11, 23, 10, 1))) == text.removeprefix("head\n")


@pytest.mark.parametrize(
    ("begun", "stamps", "last"),
    [
        (datetime(2026, 12, 31, 23), ["12-31 23:59:59", "01-01 00:00:01"], datetime(2027, 1, 1, 0, 0, 1)),
        (datetime(2026, 11, 23), ["03-01 12:00:00"], datetime(2027, 3, 1, 12)),
        (datetime(2026, 11, 23), ["2026-11-24 12:00:00"], datetime(2026, 11, 24, 12)),
        (datetime(2027, 11, 23), ["02-29 12:00:00"], datetime(2028, 2, 29, 12)),
        (datetime(2026, 11, 23), ["11-25 00:00:00", "11-24 23:59:59"], datetime(2026, 11, 25)),
        (datetime(2026, 11, 23, 10), ["11-23 08:00:00"], datetime(2026, 11, 23, 8)),  # of another time zone
        (datetime(2026, 11, 23), ["13-40 25:00:00"], datetime(2026, 11, 23)),
    ],
)
def test_a_stamp_must_get_the_year_that_it_lacks(begun: datetime, stamps: list[str], last: datetime) -> None:
    times = Times(begun)
    for stamp in stamps:
        times.at(info("x", stamp))
    assert times.at("no stamp") == last


def test_the_first_stamp_of_some_bytes_must_be_found() -> None:
    text = ("st of a line\n" + info("x", "11-24 01:02:03") + info("y", "11-25 01:02:03")).encode()
    assert first_stamp(text, Times(BEGUN)) == datetime(2026, 11, 24, 1, 2, 3)
    assert first_stamp(b"nothing\n", Times(BEGUN)) is None


# ------------------------------------------------------------------------------------------------------------ errors


def test_errors_must_come_with_their_tracebacks_and_without_the_rest() -> None:
    trouble = (
        info("EngineCore failed to start.", level="ERROR")
        + "Traceback (most recent call last):\n"
        + '  File "x.py", line 1, in main\n'
        + "    raise ValueError\n"
        + "ValueError: no room\n"
        + "  and why\n"
        + "During handling of the above exception, another exception occurred:\n"
        + "Traceback (most recent call last):\n"
        + '  File "y.py", line 2, in main\n'
        + "RuntimeError: it ends\n"
    )
    others = [info("up"), info("careful", level="WARNING"), "a banner\n", 'INFO:     1.2.3.4 - "GET /" 200\n']
    for line in others:
        assert seen("  indented\n" + line + trouble + line, Choice(errors=True)) == trouble
    assert seen("OSError: [Errno 28] No space left on device\n", Choice(errors=True)).startswith("OSError")


def test_a_real_failure_must_be_seen_from_its_traceback_to_its_reason() -> None:
    shown = seen((RECORDED / "vllm-0.32-cpu-too-long.log").read_bytes(), Choice(errors=True)).splitlines()
    assert shown[0] == "Traceback (most recent call last):"
    assert "User-specified max_model_len (4096)" in shown[-2]
    assert seen((RECORDED / "vllm-0.32-cpu-ready.log").read_bytes(), Choice(errors=True)) == ""


def test_both_a_pattern_and_an_error_must_hold() -> None:
    text = info("CUDA out of memory", level="ERROR") + info("memory") + info("other", level="ERROR")
    choice = Choice(errors=True, grep=re.compile("memory"))
    assert seen(text, choice) == info("CUDA out of memory", level="ERROR")


# ------------------------------------------------------------------------------------------------ several deployments

LINES = st.lists(st.tuples(st.integers(0, 30), st.text("ab", max_size=3)), max_size=12)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), LINES))
def test_put_together_none_must_be_lost_and_each_keep_its_order(given: dict[str, list[tuple[int, str]]]) -> None:
    sources = {
        name: [Shown(BEGUN + timedelta(seconds=second), text) for second, text in sorted(lines, key=lambda one: one[0])]
        for name, lines in given.items()
    }
    merged = list(together(sources))
    for name, lines in sources.items():
        assert [shown for of, shown in merged if of == name] == lines
    assert [shown.at for _, shown in merged] == sorted(shown.at for _, shown in merged)


TWO = {
    "qwen14b": "warming\n" + info("loading", "11-23 10:00:01") + info("ready", "11-23 10:00:09"),
    "qwen32b-awq": info("loading", "11-23 10:00:02", pid=9)
    + "Traceback (most recent call last):\n  x\nValueError: no\n",
}


@pytest.mark.parametrize("coloured", [False, True])
def test_the_multiplexed_form(coloured: bool) -> None:
    heads = prefixes(TWO, coloured=coloured)
    views = {name: View(Choice(), BEGUN).feed(text.encode()) for name, text in TWO.items()}
    text = "".join(heads[name] + shown.text for name, shown in together(views))
    golden.check("logs", "coloured" if coloured else "plain", text.rstrip("\n").replace("\x1b", "<ESC>"))


def test_a_single_one_must_have_no_name_in_front() -> None:
    assert prefixes(["a"], coloured=True) == {"a": ""}


def test_a_name_must_keep_its_colour_and_no_two_share_one() -> None:
    alone = {name: prefixes([name, "zz"], coloured=True)[name].split("m")[0] for name in "abcde"}
    assert alone["a"] == prefixes(["a", "other"], coloured=True)["a"].split("m")[0]
    heads = prefixes([f"n{number}" for number in range(10)], coloured=True)
    assert len({head.split("m")[0] for head in heads.values()}) == 10
    assert not any("\x1b" in head for head in prefixes(["a", "b"], coloured=False).values())
