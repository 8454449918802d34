"""Numbers reported elsewhere: the schema, what may be called what, and the page made from them."""

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from vssl.errors import UserError
from vssl.evaluate import literature
from vssl.evaluate.literature import REPORTED, SECOND_HAND, UNVERIFIED, parse, rows

PAGE = Path(__file__).parents[3] / "docs" / "literature.md"
TEXT = resources.files("vssl.evaluate").joinpath("literature.csv").read_text(encoding="utf-8")
HEAD = TEXT.splitlines()[0]
GOOD = "1.2,CoCLR,S3D,UCF101,128 x 32,ucf101,finetune,top1,81.4,,,I,read,TengdaHan/CoCLR issue 35,yes,500 epochs,"


def test_every_number_is_there():
    """Counted by hand in the collection that the table was made from."""
    assert Counter(row.table for row in rows()) == {"1.1": 14, "1.2": 112, "1.2 SEVERE++": 99, "1.3": 21}


def test_every_row_says_where_from_and_why_it_does_not_compare():
    for row in rows():
        assert row.source
        assert row.tag in ("R", "I", "P", "S++", "Surv", "M")
        assert len(row.why_not_comparable) > 20, row


def test_nothing_remembered_or_second_hand_is_shown_as_published():
    labels = {tag: {row.label for row in rows() if row.tag == tag} for tag in literature.TAGS}
    assert labels == {
        "R": {REPORTED},
        "I": {REPORTED},
        "P": {REPORTED},
        "S++": {SECOND_HAND},
        "Surv": {SECOND_HAND},
        "M": {UNVERIFIED},
    }
    assert not any(row.verified for row in rows() if row.tag == "M")
    for line in PAGE.read_text().splitlines():
        if "| [M] " in line:
            assert UNVERIFIED in line
            assert REPORTED not in line


def test_known_numbers_are_found_by_data_set_and_protocol():
    found = {(row.method, row.backbone, row.number) for row in rows(dataset="ucf101", protocol="finetune")}
    assert {("RSPNet", "R(2+1)D (VCOP's)", "81.1"), ("VideoMAE", "ViT-B", "96.1")} <= found
    assert ("RSPNet", "R(2+1)D-18", "76-77") in found  # a range
    assert [row.value for row in rows(dataset="hmdb51", protocol="retrieval")] == [22.9, 32.2]
    assert rows(dataset="ucf101", protocol="no such") == []


def test_the_page_is_made_from_the_table():
    assert PAGE.read_text() == literature.markdown()


def test_the_schema_takes_a_good_row():
    assert parse([HEAD, GOOD])[0].label == REPORTED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("81.4", "about 81"), "are numbers"),
        (("81.4", "814"), "percentage"),
        ((",I,read,", ",X,read,"), "no such table, tag and confidence"),
        ((",I,read,", ",M,read,"), "no such table, tag and confidence"),
        ((",I,read,", ",M,high,"), "verified is yes for what was read"),
        ((",I,read,", ",Surv,second-hand,"), "verified is yes for what was read"),
        (("TengdaHan/CoCLR issue 35,yes", ",yes"), "source is empty"),
        (("TengdaHan/CoCLR issue 35", "issues of TengdaHan/CoCLR"), "cannot be found"),
        (("I,read,TengdaHan/CoCLR issue 35", "R,read,a public repository"), "cannot be found"),
        (("I,read,TengdaHan/CoCLR issue 35", "P,read,a public page"), "cannot be found"),
        (("500 epochs", ""), "why_not_comparable is empty"),
        (("500 epochs", "500, epochs"), "cells"),
        ((",S3D,", ", S3D,"), "padded"),
        (("1.2,", "9,"), "no such table"),
    ],
)
def test_the_schema_refuses(change, said):
    bad = GOOD.replace(*change)
    assert bad != GOOD
    with pytest.raises(UserError, match=said):
        parse([HEAD, bad])


def test_the_schema_refuses_other_columns_and_rows_that_stand_twice():
    with pytest.raises(UserError, match="its columns must be"):
        parse([HEAD.replace("tag", "label"), GOOD])
    with pytest.raises(UserError, match="row 3: stands twice"):
        parse([HEAD, GOOD, GOOD])
