import numpy as np
import pytest
import torch

from vssl.errors import UserError
from vssl.evaluate.leak import overlap, refuse

SEEN = {"dataset": "ucf101", "groups": torch.tensor([11, 12]), "content": torch.tensor([101, 102, 0])}


def found(groups, content, *, seen=SEEN, dataset="ucf101"):
    return overlap(seen, dataset=dataset, groups=np.array(groups), content=np.array(content))


def test_groups_and_files_are_counted():
    leak = found([12, 12, 13, 0], [1, 2, 101, 4])
    assert (leak.num_groups, leak.num_files, leak.num_test) == (1, 1, 4)
    assert leak


def test_nothing_shared_is_no_leak():
    assert not found([13, 14], [1, 2])


def test_groups_of_another_data_set_do_not_count_but_files_do():
    assert not found([11, 12], [1, 2], dataset="hmdb51")
    assert found([11, 12], [1, 102], dataset="hmdb51")


def test_what_earlier_phases_saw_counts_each_on_its_own_data_set():
    first = {"dataset": "hmdb51", "groups": torch.tensor([21]), "content": torch.tensor([201])}
    both = SEEN | {"earlier": [first, None]}
    assert not found([21], [201])
    leak = found([11, 21, 13], [201, 101, 5], seen=both)
    assert (leak.num_groups, leak.num_files) == (1, 2)
    assert found([11, 21, 13], [5, 6, 7], seen=both, dataset="hmdb51").num_groups == 1
    assert not found([13], [5], seen=both)


def test_unknown_groups_and_unread_files_match_nothing():
    assert not overlap(
        SEEN | {"groups": torch.tensor([0])}, dataset="ucf101", groups=np.array([0]), content=np.array([0])
    )


def test_no_record_is_no_leak():
    assert not found([11], [101], seen=None)


def test_refusal_names_groups_and_clean_splits():
    with pytest.raises(
        UserError, match=r"run: split 2: pretraining saw 1 source groups and 0 of 1 test files.*--splits 1,"
    ):
        refuse(found([11], [1]), name="run", split=2, clean=[1])
    with pytest.raises(UserError, match="Pretrain on another split, or score it stamped LEAKED with --allow-leak"):
        refuse(found([11], [1]), name="run", split=2, clean=[])
    refuse(found([13], [1]), name="run", split=1, clean=[])
