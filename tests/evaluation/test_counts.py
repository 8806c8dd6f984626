from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowedit.evaluation import Record, iter_records
from knowedit.evaluation.records.counts import Table1, check_records
from knowedit.facts import Fact
from tests.evaluation.samples import NESTED, nested

RELATIONS = st.sampled_from(["r", "s", None])
GROUPS = st.none() | st.lists(st.sampled_from("abc"), max_size=4).map(tuple)


@st.composite
def records(draw):
    return [
        Record(
            case_id=i,
            fact=Fact(
                draw(st.sampled_from("AB")),
                draw(st.sampled_from(["{} is", "{} has"])),
                "x",
                "y",
                draw(RELATIONS),
            ),
            paraphrase_prompts=draw(GROUPS),
            generation_prompts=draw(GROUPS),
        )
        for i in range(draw(st.integers(1, 6)))
    ]


def slow(given_records, read):
    """A row of Table 1 by its definition: total, per relation, per record."""
    have = [(record.fact.relation, set(read(record))) for record in given_records if read(record) is not None]
    if not have:
        return None, None, None
    total = len({text for _, texts in have for text in texts})
    relations = {relation for relation, _ in have}
    known = all(record.fact.relation for record in given_records)
    per_relation = fmean(
        len({text for other, texts in have if other == relation for text in texts}) for relation in relations
    )
    return total, per_relation if known else None, fmean(len(texts) for _, texts in have)


@given(found=records())
def test_every_row_is_its_definition(found):
    rows = {row.name: row for row in Table1().add_all(found).rows()}
    reads = {
        "Subjects": lambda record: [record.fact.subject],
        "Counterfactual Statements": lambda record: [record.fact.text],
        "Paraphrase Prompts": lambda record: record.paraphrase_prompts,
        "Neighborhood Prompts": lambda record: record.neighborhood_prompts,
        "Generation Prompts": lambda record: record.generation_prompts,
    }
    for name, read in reads.items():
        row = rows[name]
        assert (row.total, row.per_relation, row.per_record) == pytest.approx(slow(found, read))


@given(found=records(), data=st.data())
def test_the_order_does_not_matter(found, data):
    other = data.draw(st.permutations(found))
    assert Table1().add_all(found).rows() == Table1().add_all(other).rows()


def test_per_relation_and_per_record():
    other = nested(3)
    other["requested_rewrite"]["relation_id"] = "P1"
    table = Table1().add_all(Record.from_json(entry) for entry in (nested(1), nested(2), other))
    first = table.rows()[0]
    assert (first.total, first.per_relation, first.per_record, table.relations) == (3, 1.5, 1, 2)


def test_no_records_have_no_numbers():
    rows = Table1().rows()
    assert rows[0].total == 0
    assert all(row.total is row.per_relation is row.per_record is None for row in rows[1:])


@pytest.mark.skipif(
    "KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with COUNTERFACT"
)
def test_the_compact_file_has_no_bad_record():
    path = Path(os.environ["KNOWEDIT_DATA"]) / "counterfact" / "counterfact_compact.jsonl"
    table = Table1()
    assert list(check_records(path, table)) == []
    assert table.records == 21919
    assert [record.case_id for record in iter_records(path)] == list(range(21919))


def test_a_check_names_bad_records_and_continues(tmp_path):
    lines = [json.dumps(nested(0)), "{", json.dumps(nested(0)), json.dumps(NESTED), '{"case_id": 1}']
    (tmp_path / "r").write_text("\n".join(lines))
    table = Table1()
    found = list(check_records(tmp_path / "r", table))
    assert (table.records, table.rows()[0].total) == (2, 2)
    starts = ["line 2: is not JSON", "record 3 (line 3): case_id 0 was", "record 5 (line 5): holds a dict"]
    assert [line.startswith(start) for line, start in zip(found, starts, strict=True)] == [True] * 3
