"""What a batch weighs among others: the weighted mean of the parts' losses is the loss of the whole."""

import pytest
import torch

from laconic.answers import answered_in, slot_logits
from laconic.data.batching import PADDING, pad
from laconic.methods.distill import soft_loss


def weighted(parts):
    """Of (batch, loss) pairs, as training adds them up."""
    weights = [answered_in(batch) for batch, _ in parts]
    return sum(n * float(loss) for n, (_, loss) in zip(weights, parts, strict=True)) / sum(weights)


@pytest.mark.parametrize("key", ["places", "slots", None])
def test_what_a_teacher_says_weighs_by_the_rows_that_a_loss_is_the_mean_over(key):
    """Of a span, each window has one start and one end, among however many places; of slots, each is a row."""
    torch.manual_seed(0)
    spots = [[0, 1, 2, 3, 4, 5, 6], [0, 2, 4], [0, 3], [1, 5]]
    features = [{"input_ids": [1] * 8, **({key: here} if key else {})} for here in spots]
    student, teacher = (torch.randn(4, 8, 2) if key else torch.randn(4, 2) for _ in range(2))

    def part(rows):
        batch = pad([features[i] for i in rows], 0)
        return batch, soft_loss(slot_logits(student[rows], batch), slot_logits(teacher[rows], batch), 1.0)

    _, whole = part([0, 1, 2, 3])
    assert weighted([part([0]), part([1, 2, 3])]) == pytest.approx(float(whole), rel=1e-5)


def test_labels_that_are_given_weigh_and_no_others():
    batch = {"labels": torch.tensor([[3, PADDING["labels"], 0], [PADDING["labels"], 1, 2]])}
    assert answered_in(batch) == 4


def test_shares_of_batches_weigh_by_what_a_share_holds_on_average():
    """Two processes share two batches unevenly; the mean of theirs is that over all tokens."""
    torch.manual_seed(0)
    nats = [[torch.rand(3), torch.rand(7)], [torch.rand(12), torch.rand(8)]]  # of batches, of shares
    asked = [sum(map(len, shares)) / 2 for shares in nats]
    losses = [
        [
            (
                {"asked": torch.tensor(asked[b]), "labels": torch.zeros(1, len(nats[b][share]), dtype=torch.int64)},
                nats[b][share].sum() / asked[b],
            )
            for b in range(2)
        ]
        for share in range(2)
    ]
    mean = sum(map(weighted, losses)) / 2
    assert mean == pytest.approx(float(torch.cat([n for shares in nats for n in shares]).mean()), rel=1e-5)
