import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vssl.bank import Bank
from vssl.errors import UserError


@given(size=st.sampled_from([6, 12]), count=st.sampled_from([1, 2, 3, 6]), calls=st.integers(0, 15))
def test_it_is_a_queue(size, count, calls):
    bank = Bank(size, 4)
    model = list(bank.rows.clone())
    for call in range(calls):
        new = torch.full((count, 4), float(call + 2)) + torch.arange(count)[:, None]
        bank.put(new)
        model = model[count:] + list(new)
    at = int(bank.pointer)
    torch.testing.assert_close(torch.cat([bank.rows[at:], bank.rows[:at]]), torch.stack(model), rtol=0, atol=0)
    assert at == calls * count % size


def test_start_values():
    torch.testing.assert_close(Bank(24, 8).rows.norm(dim=1), torch.ones(24))
    columns = Bank(24, 8, init="columns").rows
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(8))
    assert columns.norm(dim=1).mean() < 0.7
    torch.testing.assert_close(Bank(24, 8, seed=1).rows, Bank(24, 8, seed=1).rows, rtol=0, atol=0)
    assert not torch.equal(Bank(24, 8, seed=1).rows, Bank(24, 8).rows)


def test_a_batch_that_does_not_divide_it():
    with pytest.raises(UserError, match=r"a batch of 5: does not divide the bank of 12 rows\. Try a batch of 4"):
        Bank(12, 4).put(torch.zeros(5, 4))


def test_a_batch_can_be_checked_beforehand():
    bank = Bank(12, 4)
    assert [n for n in range(1, 14) if not _refused(bank, n)] == [1, 2, 3, 4, 6, 12]


def _refused(bank, batch):
    try:
        bank.check(batch)
    except UserError:
        return True
    return False


def test_it_travels_with_the_state():
    bank, other = Bank(12, 4), Bank(12, 4, seed=3)
    bank.put(torch.ones(4, 4))
    other.load_state_dict(bank.state_dict())
    assert int(other.pointer) == 4
    torch.testing.assert_close(other.rows, bank.rows, rtol=0, atol=0)
