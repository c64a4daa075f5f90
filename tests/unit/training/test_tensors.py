import pickle
from typing import Any

import pytest
import torch
from training_parts import split

from tidemill.settings import ClassWeights, Objective
from tidemill.training.tensors import Tensors, weighted


def test_a_slice_is_a_view_and_an_index_a_copy() -> None:
    rows = split(10, weight=True)
    view, copy = rows[2:5], rows[torch.tensor([4, 2])]
    assert view.numeric.data_ptr() == rows.numeric[2].data_ptr()
    assert torch.equal(copy.target, rows.target[[4, 2]])
    assert torch.equal(copy.weight, rows.weight[[4, 2]])
    assert len(view) == 3
    assert len(copy) == 2


def test_the_digest_tells_values_shapes_and_weights_apart() -> None:
    rows = split(10)
    changed = split(10)
    changed.numeric[3, 1] += 1e-6
    digests = {part.digest() for part in (rows, changed, rows[:9], split(10, weight=True))}
    assert len(digests) == 4
    assert rows.digest() == split(10).digest()


def test_a_split_without_features_of_one_kind_has_a_digest_and_batches() -> None:
    rows = Tensors(
        numeric=torch.zeros(3, 0), categorical=torch.zeros(3, 0, dtype=torch.int64), target=torch.ones(3), weight=None
    )
    assert len(rows.digest()) == 32
    assert rows[torch.tensor([2, 0])].numeric.shape == (2, 0)
    assert rows.bytes == 12


def test_totals_count_rows_or_weights() -> None:
    rows = split(10, weight=True)
    assert rows.total == rows.weight.sum()
    assert split(10).total == 10


def test_pickles_by_value() -> None:
    rows = split(10, weight=True)
    assert pickle.loads(pickle.dumps(rows)).digest() == rows.digest()


@pytest.mark.parametrize("weight", [False, True])
def test_balanced_classes_count_the_same_and_the_mean_weight_stays(weight: Any) -> None:
    train, validation = split(300, weight=weight, classes=3), split(50, seed=1, classes=3)
    balanced, other = weighted(train, validation, ClassWeights.BALANCED, Objective.MULTICLASS)
    mass = torch.bincount(balanced.target, weights=balanced.weight)
    assert torch.allclose(mass, mass[0].expand(3), rtol=1e-5)
    assert balanced.weight.sum() == pytest.approx(float(train.total), rel=1e-5)
    factor = balanced.weight[balanced.target == 2][0] / (train.weight[train.target == 2][0] if weight else 1)
    assert torch.allclose(other.weight[other.target == 2], factor)


def test_binary_targets_are_classes_too_and_a_class_that_training_lacks_weighs_one() -> None:
    train, validation = split(40), split(40, seed=1)
    balanced, _ = weighted(train, validation, ClassWeights.BALANCED, Objective.BINARY)
    assert balanced.weight[balanced.target == 1].sum() == pytest.approx(20, rel=1e-5)
    lacking = train[train.target.nonzero()[:, 0]]
    _, other = weighted(lacking, validation, ClassWeights.BALANCED, Objective.BINARY)
    assert torch.equal(other.weight, torch.ones(40))


def test_regression_and_no_class_weights_leave_the_splits_alone() -> None:
    train, validation = split(10), split(10)
    assert weighted(train, validation, ClassWeights.BALANCED, Objective.REGRESSION) == (train, validation)
    assert weighted(train, validation, ClassWeights.NONE, Objective.BINARY)[0] is train
