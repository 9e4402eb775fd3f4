"""The head against what is known of it: symmetry, its own folds, and when to distrust features."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from allroads.evaluation.graders import head
from allroads.evaluation.graders.head import STRENGTHS, fit_head


def test_two_pairs_by_hand(monkeypatch: pytest.MonkeyPatch):
    # One feature, one group, so the strongest regularisation C. Both pairs say +1, each is read
    # in both directions: the loss is w^2 / 2 + 4 C log(1 + e^-w), least where
    # w = 4 C (1 - sigma(w)). At C = .01: w = .04 (1 - sigma(w)), w = .0198 to four digits.
    (weight,) = fit_head(np.array([[1.0], [1.0]]), ["a", "a"])
    assert weight == pytest.approx(0.04 / (1 + np.exp(weight)), abs=1e-5)
    assert weight == pytest.approx(0.0198, abs=1e-4)


def test_a_clear_feature_gets_a_weak_regularisation_and_noise_a_strong_one():
    rng = np.random.default_rng(0)
    groups = [str(i) for i in range(200)]
    noise = rng.normal(size=(200, 40))
    clear = np.column_stack([np.abs(rng.normal(size=200)) + 0.2, noise])
    strong = np.linalg.norm(fit_head(noise, groups))
    assert strong == pytest.approx(np.linalg.norm(head._weights(noise, STRENGTHS[0])))
    weights = fit_head(clear, groups)
    assert weights[0] > 5 * np.abs(weights[1:]).max()
    assert weights[0] > head._weights(clear, STRENGTHS[0])[0]


def test_folds_never_divide_a_group():
    """Each group has a feature of its own, which says nothing of another group.

    Inside a group it predicts perfectly, so folds that divide groups would choose the weakest
    regularisation. The chance level of the groups' signs makes the strongest the right one.
    """
    rng = np.random.default_rng(1)
    groups = [str(i // 6) for i in range(120)]
    features = np.zeros((120, 20))
    features[np.arange(120), np.arange(120) // 6] = np.repeat(rng.choice([-1.0, 1.0], 20), 6)
    np.testing.assert_array_equal(fit_head(features, groups), head._weights(features, STRENGTHS[0]))
    divided = fit_head(features, [str(i) for i in range(120)])
    np.testing.assert_array_equal(divided, head._weights(features, STRENGTHS[-1]))


def test_swapped_labels_turn_the_weights_round_and_sparse_is_dense():
    features = np.random.default_rng(2).normal(size=(60, 3)) + 0.3
    groups = [str(i) for i in range(60)]
    weights = fit_head(features, groups)
    np.testing.assert_allclose(fit_head(-features, groups), -weights, atol=1e-6)
    np.testing.assert_allclose(fit_head(csr_matrix(features), groups), weights, atol=1e-4)
    np.testing.assert_array_equal(fit_head(features, groups), weights)
