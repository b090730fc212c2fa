"""Server-sent events, byte by byte."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backroom.client.sse import MAX_LINE, Decoder, Message


def read(*chunks: bytes, last_id: str = "") -> tuple[list[Message], Decoder]:
    decoder = Decoder(last_id)
    return list(decoder.messages(chunks)), decoder


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"data: a\n\n", [("message", "a", "")], id="data alone is a message"),
        pytest.param(b"event: added\nid: 1-0\ndata: {}\n\n", [("added", "{}", "1-0")], id="type, id and data"),
        pytest.param(
            b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [("message", x, "") for x in "abc"], id="every line end"
        ),
        pytest.param(b"data: a\ndata: b\n\n", [("message", "a\nb", "")], id="lines of data are joined"),
        pytest.param(b"data\n\n", [("message", "", "")], id="a field without a colon is an empty one"),
        pytest.param(b"data:  a\n\n", [("message", " a", "")], id="one space is taken off, not two"),
        pytest.param(b"data:a:b\n\n", [("message", "a:b", "")], id="the first colon counts"),
        pytest.param(b": heartbeat\n\ndata: a\n\n", [("message", "a", "")], id="comments are nothing"),
        pytest.param(b"event: x\n\ndata: a\n\n", [("message", "a", "")], id="a type without data is forgotten"),
        pytest.param(b"id: 1\ndata: a\n\ndata: b\n\n", [("message", x, "1") for x in "ab"], id="an id holds on"),
        pytest.param(b"id: 1\n\nid\ndata: a\n\n", [("message", "a", "")], id="an empty id takes it away"),
        pytest.param(b"id: 1\nid: 2\0\ndata: a\n\n", [("message", "a", "1")], id="an id with a NUL is none"),
        pytest.param(b"data: a\n\ndata: b\n", [("message", "a", "")], id="what is cut off is no message"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")], id="a byte order mark is skipped"),
        pytest.param(b"color: red\ndata: a\n\n", [("message", "a", "")], id="unknown fields are nothing"),
        pytest.param(
            "data: ä\u2028ö\x0b\x85\n\n".encode(), [("message", "ä\u2028ö\x0b\x85", "")], id="other separators"
        ),
        pytest.param(b"data: \xff\n\n", [("message", "\ufffd", "")], id="what is not UTF-8 is replaced"),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream, expected):
    assert read(stream)[0] == [Message(*each) for each in expected]
    assert read(*(bytes([byte]) for byte in stream))[0] == [Message(*each) for each in expected]


@given(
    pieces=st.lists(
        st.sampled_from(
            [b"data: a", b"id: 7", b"event: e", b": c", b"\n", b"\r", b"\r\n", "ä".encode(), b"\xef\xbb\xbf"]
        )
    ),
    cuts=st.lists(st.integers(0, 60)),
)
def test_where_the_network_cuts_does_not_matter(pieces, cuts):
    stream = b"".join(pieces)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(places)]
    assert read(*chunks)[0] == read(stream)[0]


def test_one_resumes_behind_the_last_complete_event():
    _, decoder = read(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", last_id="0")
    assert decoder.last_id == "1"
    _, decoder = read(b": nothing yet\n\n", last_id="0")
    assert decoder.last_id == "0"


@pytest.mark.parametrize(("line", "seconds"), [(b"retry: 1500", 1.5), (b"retry: soon", None), (b"retry: -1", None)])
def test_the_server_may_say_when_to_come_back(line, seconds):
    assert read(line + b"\n\n")[1].retry == seconds


def test_a_line_without_end_is_refused():
    with pytest.raises(ValueError, match="no line of server-sent events"):
        read(b"data: ", b"x" * MAX_LINE)
