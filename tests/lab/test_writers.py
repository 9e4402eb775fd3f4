"""Who writes a world's training pairs, and on which prompts; everything else stays as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import stats

from allroads.data.dataset import Dataset
from allroads.data.worlds import Routes, Sentiment
from allroads.errors import ConfigError
from allroads.lab import writers
from allroads.lab.compare import prepare
from allroads.lab.config import build_config
from allroads.lab.jobs import fingerprint
from allroads.lab.prepare import WorldSizes, demonstrations_only, paraphrased, with_pairs
from allroads.lab.writers import babble, check_writers, whose, written
from allroads.models.builtin import small_transformer
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child
from allroads.types import Completion, Demonstration, Pair, Prompt, Tokens

WORLD = Routes()
EOS = WORLD.eos_id
PROMPTS = WORLD.prompts("train")
TINY = small_transformer(
    vocabulary=41, context=WORLD.context, eos_id=EOS, width=8, layers=1, seed=0
)


def made(world: Routes = WORLD, **sizes: Any) -> Dataset:
    chosen = WorldSizes(
        **{"demonstrations": 50, "pairs": 90, "selection_pairs": 30, "test_pairs": 30, **sizes}
    )
    return with_pairs(world, demonstrations_only(world, chosen, seed=0), TINY, chosen, seed=0)


def scripted(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[float]:
    """In place of the sampler: `answer(prompt, copy, temperature)`; the temperatures asked for."""
    asked: list[float] = []

    def sample(
        policy: object, prompts: Sequence[Prompt], *, per_prompt: int, temperature: float, **_: Any
    ) -> list[list[Completion]]:
        asked.append(temperature)
        texts = [[answer(p, copy, temperature) for copy in range(per_prompt)] for p in prompts]
        return [
            [
                Completion(prompt=p, tokens=t, token_logprobs=(0.0,) * len(t), stop="eos")
                for t in row
            ]
            for p, row in zip(prompts, texts, strict=True)
        ]

    monkeypatch.setattr(writers, "sample", sample)
    return asked


# By default --------------------------------------------------------------------------------------


def test_by_default_a_pair_is_two_samples_of_the_policy_in_a_drawn_order_of_the_prompts():
    """Rebuilt from the sampler and the addresses that published runs have used."""
    data = made(pairs=60)
    order = child(0, "world-order", "train").permutation(len(PROMPTS))[:60]
    drawn = sample(
        TINY,
        [PROMPTS[i] for i in order],
        per_prompt=2,
        temperature=1.0,
        max_new_tokens=WORLD.max_new_tokens,
        seed=(address(0, "world-pairs"), "train"),
    )
    expected = [
        (group[0].prompt.prompt_id, {one.tokens for one in group})
        for group in drawn
        if group[0].tokens != group[1].tokens
    ]
    assert [(p.prompt_id, {p.chosen, p.rejected}) for p in data.pairs["train"]] == expected


def test_fields_that_came_later_leave_the_name_of_old_runs_alone():
    """The fingerprint is the one that a run of the defaults had before there were such fields."""
    assert fingerprint([WORLD.identity, WorldSizes().identity]) == (
        "8543189af707fd175be777a43c695c6f"
    )
    changes = [{}, {"pair_prompts": 0.5}, {"writers": "wide"}, {"writers": "narrow"}, {"pairs": 9}]
    names = {fingerprint(WorldSizes.model_validate(change).identity) for change in changes}
    assert len(names) == len(changes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"pair_prompts": 0}, "sizes.pair_prompts: Input should be greater than 0, found 0"),
        ({"pair_prompts": 1.1}, "sizes.pair_prompts: Input should be less than or equal to 1, "),
        ({"writers": "all"}, "sizes.writers: Input should be 'sft', 'narrow' or 'wide', found "),
        ({"writer": "sft"}, "unknown key 'sizes.writer': did you mean 'writers'"),
        ({"pairs": 0}, "sizes.pairs: Input should be greater than or equal to 1, found 0"),
    ],
)
def test_sizes_that_cannot_be_are_named(sizes: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as error:
        build_config({"world": "routes", "sizes": sizes}, origin="x.yaml")
    assert message in str(error.value)


# On some of the prompts --------------------------------------------------------------------------


def covered(data: Dataset) -> set[str]:
    return {pair.prompt_id for pair in data.pairs["train"]}


def test_pairs_keep_to_their_share_of_the_prompts(monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, lambda prompt, copy, _: (1 + copy, EOS))
    asked = 600
    by_share = {share: made(pairs=asked, pair_prompts=share) for share in (0.001, 0.3, 0.6, 1.0)}
    # Of 838 prompts: 0.838, 251.4 and 502.8; with all, as many prompts as pairs.
    assert {share: len(covered(data)) for share, data in by_share.items()} == {
        0.001: 1,
        0.3: 251,
        0.6: 503,
        1.0: 600,
    }
    shares = [covered(data) for data in by_share.values()]
    assert shares[0] < shares[1] < shares[2] < shares[3]
    for share, data in by_share.items():
        assert len(data.pairs["train"]) == asked, "as many labels, however many prompts"
        assert max(Counter(p.prompt_id for p in data.pairs["train"]).values()) == -(
            -asked // len(covered(data))
        )
        assert data.prompts["train"] == PROMPTS, "the others can still be answered"
        for split in ("selection", "test"):
            assert data.pairs[split] == by_share[1.0].pairs[split]  # type: ignore[index]
        source = data.audit.sources[0].source
        assert ("share of" in source) == (share < 1)
    assert by_share[0.3].audit.sources[0].source == (
        "routes, samples of the SFT policy on a share of 0.3 of the train prompts"
    )


def test_another_seed_labels_other_prompts(monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, lambda prompt, copy, _: (1 + copy, EOS))
    sizes = WorldSizes(
        demonstrations=1, pairs=300, selection_pairs=1, test_pairs=1, pair_prompts=0.3
    )
    before = demonstrations_only(WORLD, sizes, seed=0)
    a, b = (covered(with_pairs(WORLD, before, TINY, sizes, seed=seed)) for seed in (0, 1))
    assert len(a) == len(b) == 251
    # Two subsets of 251 of 838 share 75 on average, sd 7 (hypergeometric).
    assert 40 < len(a & b) < 110


# By several hands --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plain(Routes):
    """Its demonstrators always say the same."""

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> Tokens:
        """Town 3."""
        return (3, EOS)


FOUR = [Demonstration(prompt_id="p", prompt=(1, 2), completion=(4, EOS))]
"""All that `babble` can say from these is town 4."""


def test_four_writers_have_equal_chances_on_each_side_independently(
    monkeypatch: pytest.MonkeyPatch,
):
    """Chi-square of the 16 combinations at p > 1e-5: a false alarm in 1 of 100,000 seeds."""
    asked = scripted(monkeypatch, lambda prompt, copy, temperature: (int(temperature), EOS))
    rows = written(
        Plain(),
        TINY,
        PROMPTS,
        FOUR,
        writers="wide",
        copies=8,
        split="train",
        seed=0,
        batch_size=64,
    )
    assert asked == [1.0, 2.0]
    counts = Counter((row[k][0], row[k + 1][0]) for row in rows for k in range(0, 8, 2))
    assert set(counts) == {(a, b) for a in (1, 2, 3, 4) for b in (1, 2, 3, 4)}
    assert sum(counts.values()) == 4 * len(PROMPTS)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-5
    # The names of the writers stand in this order in `whose`.
    by_number = [(3, EOS), (1, EOS), (2, EOS), (4, EOS)]
    assert rows == [[by_number[who] for who in row] for row in whose(PROMPTS, 8, "train", 0)]


def test_a_completion_hangs_on_no_other_prompt_and_on_no_later_copy():
    def drawn(prompts: Sequence[Prompt], copies: int, how: Any = "wide") -> list[list[Tokens]]:
        return written(
            WORLD,
            TINY,
            prompts,
            WORLD.demonstrations(50, seed=0),
            writers=how,
            copies=copies,
            split="train",
            seed=5,
            batch_size=1024,
        )

    some = PROMPTS[:40]
    rows = drawn(some, 6)
    fewer = drawn(some[::-2], 4)
    assert fewer == [row[:4] for row in rows[::-2]]
    # What the SFT policy writes at temperature 1 is what it writes where it is alone.
    alone, who = drawn(some, 6, "sft"), whose(some, 6, "train", 5)
    same = [rows[i][c] == alone[i][c] for i in range(40) for c in range(6) if who[i][c] == 1]
    assert len(same) > 40
    assert all(same)


def test_wide_pairs_go_far_and_nothing_else_moves():
    """Demonstrators who never err score 1, the tiny policy and chance hardly ever.

    Of 600 answers 150 are expected from them, sd 10.6; a pair of two equal ones is dropped. Below
    85 or above 200: a false alarm in less than 1 of 100,000 seeds.
    """
    sober = Routes(wander=0.0, trespass=0.0)
    few, wide = made(sober, pairs=300), made(sober, pairs=300, writers="wide")
    for split in ("selection", "test"):
        assert wide.pairs[split] == few.pairs[split]  # type: ignore[index]
    assert wide.audit.sources[1:] == few.audit.sources[1:]
    assert wide.audit.sources[0].source == (
        "routes, each answer by the demonstrators, by the SFT policy at temperature 1 or 2, or by "
        "chance, with equal odds, on train prompts"
    )

    def perfect(data: Dataset) -> int:
        pairs = data.pairs["train"]
        sides = [c for p in pairs for c in (p.chosen, p.rejected)]
        return sober.verify([p.prompt for p in pairs for _ in range(2)], sides).count(1.0)

    assert perfect(few) < 10
    assert 85 < perfect(wide) < 200


def test_narrow_pairs_are_the_same_policy_cooled(monkeypatch: pytest.MonkeyPatch):
    asked = scripted(monkeypatch, lambda prompt, copy, _: (1 + copy, EOS))
    data = made(writers="narrow")
    assert asked == [0.5, 1.0, 1.0], "training pairs; selection and test pairs as ever"
    assert data.audit.sources[0].source == (
        "routes, samples of the SFT policy at temperature 0.5 on train prompts"
    )


def test_babble_has_the_shape_of_a_demonstration_and_no_sense():
    """Chi-square at p > 1e-5 for the words and for the lengths; the seed is fixed."""
    rows = [
        Demonstration(prompt_id="p", prompt=(1,), completion=completion)
        for completion in ((5, EOS), (5, 5, 5, EOS), (6, 7, 8, 5))
    ]
    said = [babble(rows, [5, 6, 7, 8], EOS, child(0, "babble", i)) for i in range(4000)]
    shapes = Counter(tuple(token == EOS for token in one) for one in said)
    assert set(shapes) == {
        (False, True),
        (False, False, False, True),
        (False, False, False, False),
    }
    assert stats.chisquare(list(shapes.values())).pvalue > 1e-5
    words = Counter(token for one in said for token in one if token != EOS)
    assert set(words) == {5, 6, 7, 8}
    assert stats.chisquare(list(words.values())).pvalue > 1e-5


def test_a_world_whose_demonstrators_speak_once_is_refused_before_a_model_is_read():
    fields = {"world": "sentiment", "model": "nowhere", "sizes": {"writers": "wide"}}
    with pytest.raises(ConfigError) as error:
        prepare(build_config(fields))
    assert str(error.value) == (
        "sizes.writers 'wide': the demonstrators of world 'sentiment' cannot be asked for another "
        "answer to a prompt; give 'sft' or 'narrow'"
    )
    check_writers(Sentiment(model="nowhere"), "narrow")
    check_writers(WORLD, "wide")


# In other words ----------------------------------------------------------------------------------

TWO = Routes(dialects=2)


def test_pairs_are_in_the_first_dialect_and_an_accent_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
):
    """The policy answers in the second dialect, or in both: town 9 against 9, or 9 against 8."""

    def answer(prompt: Prompt, copy: int, temperature: float) -> Tokens:
        other = 9 if prompt.tokens[0] == 1 else 8
        return (9, EOS) if copy % 2 else (40 + other, EOS)

    scripted(monkeypatch, answer)
    data = made(TWO, pairs=len(PROMPTS), selection_pairs=160, test_pairs=400)
    for split, source in zip(("train", "selection", "test"), data.audit.sources, strict=True):
        prompts = TWO.prompts(split)  # type: ignore[arg-type]
        same = sum(prompt.tokens[0] == 1 for prompt in prompts)
        assert same > 0
        assert source.reasons == (("chosen and rejected are the same tokens", same),)
        pairs = data.pairs[split]  # type: ignore[index]
        assert len(pairs) == len(prompts) - same
        assert all({pair.chosen, pair.rejected} == {(8, EOS), (9, EOS)} for pair in pairs)


def test_a_pair_in_other_words_keeps_its_prompt_its_label_and_its_rewards():
    pair = Pair(prompt_id="p", prompt=(1, 2), chosen=(3, 40, EOS), rejected=(2, 2))
    (other,) = paraphrased(TWO, [pair])
    assert other == Pair(prompt_id="p", prompt=(1, 2), chosen=(43, 80, EOS), rejected=(42, 42))
    assert paraphrased(WORLD, [pair]) == ()
    assert paraphrased(Sentiment(model="nowhere"), [pair]) == ()
