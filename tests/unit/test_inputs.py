"""What a file of a person's holds, for a count of its tokens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.fit.inputs import Input, left, read_inputs

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def read(text: str) -> tuple[Input, ...]:
    return read_inputs("f", text.encode())


def test_a_text_is_the_message_of_a_user() -> None:
    (one,) = read("Why is the sky blue?\n")
    assert one.asked() == {"text": "Why is the sky blue?\n"}


@pytest.mark.parametrize("value", [MESSAGES, {"messages": MESSAGES}, {"body": {"model": "m", "messages": MESSAGES}}])
def test_messages_are_taken_as_they_are(value: object) -> None:
    (one,) = read(json.dumps(value))
    assert one.asked() == {"messages": MESSAGES, "tools": None, "template_kwargs": {}}


def test_what_else_is_in_the_prompt_goes_with_it() -> None:
    body = {"messages": MESSAGES, "tools": [{"type": "function"}], "chat_template_kwargs": {"enable_thinking": False}}
    (one,) = read(json.dumps(body))
    assert one.asked()["tools"] == [{"type": "function"}]
    assert one.asked()["template_kwargs"] == {"enable_thinking": False}


def test_images_are_told_to_be_uncounted() -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url"}, {"type": "input_audio"}]
    (one,) = read(json.dumps([{"role": "user", "content": content}]))
    assert one.unseen == 2


def test_a_prompt_is_a_text() -> None:
    assert read('{"prompt": "Once upon"}')[0].text == "Once upon"


def test_lines_of_requests_are_one_each() -> None:
    lines = [json.dumps({"custom_id": str(number), "body": {"messages": MESSAGES}}) for number in range(3)]
    found = read("\n".join(lines) + "\n\n")
    assert [one.name for one in found] == ["f:1", "f:2", "f:3"]
    assert all(one.messages == tuple(MESSAGES) for one in found)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[1, 2]", "[]", "7", '{"a": 1}\n{"b": 2}', '{"messages": []}', "[" * 99999]
)
def test_other_json_is_a_text(text: str) -> None:
    assert [one.text for one in read(text)] == [text]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot count f: it is no text in UTF-8 \(byte 3\)"):
        read_inputs("f", b"ab\xff")


def test_a_mark_of_the_byte_order_is_no_token() -> None:
    assert read_inputs("f", b"\xef\xbb\xbfHi")[0].text == "Hi"


def test_what_is_left_may_be_too_little() -> None:
    assert left(40960, 4000, 1000) == 35960
    assert left(4096, 4000, 1000) == -904


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5).map(json.dumps))
def test_any_text_is_one_input_or_more(text: str) -> None:
    assert all(one.text is not None or one.messages for one in read(text))
