"""Lotus' records as text: what is written, what is read, and what is refused."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.errors import CarError, FormatError, LimitError
from carv2.imports import lotus
from carv2.imports.lotus import Record, read_records, write_record

ID = 1_629_158_672_000_000_001
LABELS = {"source": "import", "root": "bafkqaaa", "filename": "/data/input.bin", "car_owner": "importmgr"}


def read(data: bytes) -> list[Record]:
    return list(read_records(io.BytesIO(data)))


def test_a_record_is_lotus_value_and_its_number() -> None:
    line = write_record(ID, LABELS)
    assert json.loads(line) == {"id": str(ID), "Labels": LABELS}
    assert read(line.encode()) == [Record(ID, LABELS)]


IN_FORMS = {
    "a line": f'{{"id":{ID},"Labels":{{"a":"b"}}}}',
    "a text": f'{{"id":"{ID}","Labels":{{"a":"b"}}}}',
    "other order": f'  {{ "Labels" : {{"a":"b"}}, "id": "{ID}", "more": 1 }}  \r\n\n',
    "blank lines": f'\n\n{{"id":{ID},"Labels":{{"a":"b"}}}}\n\n',
    "a mapping": f'{{"{ID}": {{"Labels": {{"a": "b"}}}}}}',
    "by key": f'{{"/client/stores/{ID}": {{"Labels": {{"a": "b"}}}}}}',
    "by short key": f'{{"/stores/{ID}": {{"Labels": {{"a": "b"}}}}}}',
    "over lines": json.dumps({str(ID): {"Labels": {"a": "b"}}}, indent=2),
}


@pytest.mark.parametrize("form", IN_FORMS)
def test_records_are_read_in_all_their_forms(form: str) -> None:
    assert read(IN_FORMS[form].encode()) == [Record(ID, {"a": "b"})]


@pytest.mark.parametrize("text", ["", "\n \n", "{}", "{\n}"])
def test_nothing_is_no_record(text: str) -> None:
    assert read(text.encode()) == []


@pytest.mark.parametrize("value", ['{"Labels":null}', "{}"])
def test_labels_that_go_leaves_out_are_none(value: str) -> None:
    assert read(f'{{"7": {value}}}'.encode()) == [Record(7, {})]


BAD = {
    "no json": b"fish",
    "cut": b'{"id":7,"Labels":{"a":"b"',
    "a list": b"[1, 2]",
    "a fraction": b'{"id":7.5,"Labels":{}}',
    "an exponent": b'{"id":1e18,"Labels":{}}',
    "true": b'{"id":true,"Labels":{}}',
    "negative": b'{"id":-7,"Labels":{}}',
    "other digits": '{"id":"٣","Labels":{}}'.encode(),
    "a huge number": b'{"id":' + b"9" * 20 + b',"Labels":{}}',
    "too many digits": b'{"id":' + b"9" * 9000 + b',"Labels":{}}',
    "labels of numbers": b'{"id":7,"Labels":{"a":1}}',
    "labels in a list": b'{"id":7,"Labels":["a"]}',
    "another key": b'{"/client/deals/7": {"Labels":{}}}',
    "no object": b'{"7": 8}',
    "deep": b"[" * 200_000,
    "no utf-8": b'{"id":7,"Labels":{"\xff":"b"}}',
    "two on a line": b'{"id":7}{"id":8}',
    "a mapping after lines": b'{"id":7}\n{"8":{}}',
    "zeros": bytes(100),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_record_is_refused(case: str) -> None:
    with pytest.raises(FormatError):
        read(BAD[case])


def test_the_place_of_a_fault_is_told() -> None:
    good = b'{"id":7,"Labels":{}}\n'
    with pytest.raises(FormatError, match="record at byte 21"):
        read(good + b"fish")


def test_sizes_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lotus, "MAX_LINE", 100)
    monkeypatch.setattr(lotus, "MAX_TEXT", 300)
    with pytest.raises(LimitError):
        read(b'{"id":7,"Labels":{}}\n{"id":8,"Labels":{"a":"' + b"b" * 100 + b'"}}')
    with pytest.raises(LimitError):
        read(b'{"7":\n{"Labels":{"a":"' + b"b" * 300 + b'"}}}')
    assert len(read(b'{"7":\n{"Labels":{"a":"' + b"b" * 200 + b'"}}}')) == 1


@given(st.dictionaries(st.integers(0, 10**19 - 1), st.dictionaries(st.text(), st.text())))
def test_what_is_written_is_read_again(records: dict[int, dict[str, str]]) -> None:
    lines = "".join(f"{write_record(id_, labels)}\n" for id_, labels in records.items())
    assert dict(read(lines.encode("ascii"))) == records
    whole = json.dumps({str(id_): {"Labels": labels} for id_, labels in records.items()}, indent=1)
    assert dict(read(whole.encode("ascii"))) == records


@given(st.binary())
def test_other_bytes_are_a_carerror_at_most(data: bytes) -> None:
    with contextlib.suppress(CarError):
        read(data)
