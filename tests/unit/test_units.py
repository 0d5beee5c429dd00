import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20m", 1200), ("1h30m", 5400), ("500ms", 0.5), (30, 30), ("30", 30), ("2.5s", 2.5), (0, 0), (" 1d ", 86400)],
)
def test_parse_duration(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "20 m", "5x", "-1s", "1m1h", "1m1m", "1e3", "1" * 100, True, None, [], "1h junk"]
)
def test_parse_duration_refuses(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 20m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf")])
def test_parse_duration_refuses_numbers_that_are_no_length(number: float) -> None:
    with pytest.raises(ValueError, match="it must be 0 or more, and finite"):
        parse_duration(number)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("49140MiB", 49140 << 20),
        ("49 GB", 49 * 10**9),
        ("1.5 kB", 1500),
        ("1gib", 1 << 30),
        ("7", 7),
        (7, 7),
        ("3B", 3),
    ],
)
def test_parse_size(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5 GG", "-5 GB", "1 2", "5  GB", True, None, "9" * 100])
def test_parse_size_refuses(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size such as 49140MiB or 49 GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5400, "1h30m"),
        (45, "45s"),
        (2.5, "2.5s"),
        (0.5, "500ms"),
        (0, "0s"),
        (59.99, "1m"),
        (90061, "1d1h1m1s"),
        (-5, "-5s"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (19_400_000_000, "19.4 GB"),
        (512, "512 B"),
        (1000, "1.0 kB"),
        (999_999, "1.0 MB"),
        (0, "0 B"),
        (-2000, "-2.0 kB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**9))
def test_whole_seconds_survive_a_round_trip(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(0, 10**9))
def test_a_formatted_duration_is_close(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(
        seconds, rel=0.01, abs=0.051 if seconds >= 0.9995 else 0.001
    )


@given(st.integers(0, 10**18 - 1))
def test_a_formatted_size_is_close(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.051)


@given(st.integers(0, 10**15), st.sampled_from(["", "B", " B"]))
def test_bytes_survive_a_round_trip(size: int, unit: str) -> None:
    assert parse_size(f"{size}{unit}") == size


@given(st.text())
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "is not a" in str(error)
