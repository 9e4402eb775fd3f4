"""Diagnoses made by hand: a whole one, and those in which something is missing."""

from __future__ import annotations

import math
from typing import Any

from allroads import diagnoses
from allroads.diagnoses import Diagnosis
from allroads.records import Cost, Mean

from .study_example import HOSTILE

BLOCKS = (0, 94, 188, 375, 750, 1500)
"""Pairs seen before each block; the last one ends at 3000."""
LEVELS = {"verifier": (0.55, 3.6), "generator": (0.63, 5.8)}
"""Bits that endless data leaves, and what a learner lacks at one pair; it falls with the root."""


def mean(value: float, half: float | None = 0.02, *, seeds: int = 5, prompts: int | None = 400):
    low, high = (None, None) if half is None else (value - half, value + half)
    return Mean(value=value, low=low, high=high, seeds=seeds, prompts=prompts)


def bits(learner: str, count: int) -> float:
    limit, lacks = LEVELS[learner]
    return min(1.0, limit + lacks / math.sqrt(max(count, 1)))


def curve(learner: str, half: float | None = 0.015) -> diagnoses.Curve:
    measured = [
        diagnoses.CurvePoint(
            count=count,
            nll=mean(bits(learner, count), half),
            accuracy=mean(0.5 + 0.48 * (1 - bits(learner, count)), half),
            calibration=mean(0.08 - 0.00002 * count, half and half / 2),
        )
        for count in (*BLOCKS[1:], 3000)
    ]
    further = [
        diagnoses.CurvePoint(
            count=3000 * times,
            nll=mean(bits(learner, 3000 * times), 0.012 * times),
            accuracy=mean(measured[-1].accuracy.value, None),
            calibration=mean(measured[-1].calibration.value, None),
            extrapolated=True,
        )
        for times in (2, 4, 8)
    ]
    return diagnoses.Curve(
        learner=learner,
        points=(*measured, *further),
        limit=mean(LEVELS[learner][0], 0.08),
        learned=True,
    )


def code() -> diagnoses.Code:
    ends = (*BLOCKS[1:], 3000)
    blocks = tuple(
        (start, (end - start) * (bits("generator", start) - bits("verifier", start)))
        for start, end in zip(BLOCKS, ends, strict=True)
    )
    total = sum(value for _, value in blocks)
    verifier = sum((end - start) * bits("verifier", start)
                   for start, end in zip(BLOCKS, ends, strict=True))  # fmt: skip
    misfit = 3000 * (LEVELS["generator"][0] - LEVELS["verifier"][0])
    return diagnoses.Code(
        coded=3000,
        verifier=mean(verifier, 40, prompts=None),
        generator=mean(verifier + total, 55, prompts=None),
        difference=mean(total, 38, prompts=None),
        misfit=mean(misfit, 90, prompts=None),
        learning=mean(total - misfit, 70, prompts=None),
        by_block=tuple((seen, mean(v, 4 + 0.1 * v, prompts=None)) for seen, v in blocks),
        learned=True,
    )


def headroom(**changes: Any) -> diagnoses.Headroom:
    points = []
    for by, reach in (("verifier", 0.27), ("generator", 0.16)):
        for k, n in enumerate((1, 2, 4, 8, 16, 32, 64)):
            gain = reach * math.sin(math.pi / 2 * min(k / 4, 1.0)) - 0.02 * max(k - 4, 0)
            points.append(
                diagnoses.HeadroomPoint(
                    by=by,
                    n=n,
                    kl=mean(math.log(n) - (n - 1) / n, 0.02, seeds=1),
                    over_start=mean(gain, 0.03, seeds=1),
                    over_offline=mean(gain - 0.17, 0.03, seeds=1),
                    proxy=mean(0.55 * k, 0.05, seeds=1),
                )
            )
    fields = {
        "grader": "truth",
        "grader_accuracy": None,
        "trusted": True,
        "points": tuple(points),
        "offline": mean(0.17, 0.03, seeds=1),
        "offline_kl": mean(2.9, 0.2, seeds=1),
        "bends": 16,
    }
    return diagnoses.Headroom.model_validate(fields | changes)


def without_offline() -> diagnoses.Headroom:
    whole = headroom()
    points = tuple(p.model_copy(update={"over_offline": None}) for p in whole.points)
    return headroom(points=points, offline=None, offline_kl=None)


def feature(name: str, value: float, coefficient: float, **changes: Any) -> diagnoses.Feature:
    fields = {
        "name": name,
        "meaning": f"{name}, per pair",
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "coefficient": coefficient,
        "contribution": value * coefficient,
        "known": (-0.1, 0.5),
    }
    return diagnoses.Feature.model_validate(fields | changes)


def prediction(**changes: Any) -> diagnoses.Prediction:
    """0.02 to start from, and 0.068 + 0.051 - 0.018 = 0.101 of the features."""
    fields = {
        "gain": 0.121,
        "low": 0.048,
        "high": 0.194,
        "positive": 0.993,
        "features": (
            feature("cost of learning", 0.17, 0.4, meaning="bits a pair that learning costs more"),
            feature("headroom over offline", 0.102, 0.5, meaning="best-of-16 over the offline one"),
            feature("decided early", 0.9, -0.02, known=(0.1, 0.6),
                    meaning="explained variance of the first half"),
        ),
        "model": "Ridge regression on 44 worlds of 6 families; left-out families are missed by "
        "0.05 on average.",
        "widened": ("The feature 'decided early' lies outside the worlds that were fitted.",),
    }  # fmt: skip
    return diagnoses.Prediction.model_validate(fields | changes)


def searching() -> diagnoses.Prediction:
    """Of best-of-n: one feature's 0.088, and nothing to start from."""
    return prediction(
        gain=0.088, low=0.058, high=0.118, positive=0.999, widened=(),
        features=(feature("headroom over offline", 0.102, 0.088 / 0.102),),
        model="Ridge regression of what search gains.",
    )  # fmt: skip


def cost(labels: int, flops: float, seconds: float, sampled: int = 0) -> Cost:
    return Cost(labels=labels, tokens_trained=int(flops / 6e5), tokens_sampled=sampled,
                tokens_scored=sampled // 2, flops=flops, seconds=seconds,
                peak_memory_mb=640.0)  # fmt: skip


def roads(gain: float | None = 0.121) -> tuple[diagnoses.RoadRow, ...]:
    known = gain is not None
    rows = (
        ("dpo", 0.0 if known else None, 0.0, cost(3000, 4.1e11, 18.0), 1.0),
        ("best-of-n", 0.088 if known else None, 0.03, cost(3000, 4.4e11, 19.0), 16.0),
        ("online-dpo", gain, 0.073, cost(3000, 6.4e12, 160.0, 1_400_000), 1.0),
    )
    return tuple(
        diagnoses.RoadRow(
            road=name,
            gain=value,
            low=None if value is None else value - half,
            high=None if value is None else value + half,
            cost=price,
            serving=serving,
        )
        for name, value, half, price, serving in rows
    )


def diagnosis(**changes: Any) -> Diagnosis:
    """A built-in world: the truth is known, and everything was measured."""
    fields = {
        "created": "2026-11-23",
        "version": "0.1.0",
        "revision": "abc1234",
        "command": "allroads diagnose --world routes --out runs/diagnosis",
        "data": "routes, 3 000 pairs",
        "model": "a transformer of 104 thousand weights, trained here",
        "pairs": 3000,
        "other_labels": 1200,
        "advice": "online",
        "headline": "Two-stage online RL is expected to gain +0.12 over offline likelihood "
        "(90 % interval +0.05 to +0.19)",
        "reasons": (
            diagnoses.Reason(words="Learning costs the generator 201 bits more than the verifier.",
                             evidence="code"),
            diagnoses.Reason(words="Best of 16 by the verifier beats the offline policy.",
                             evidence="headroom"),
            diagnoses.Reason(words="A good answer is among 16 samples for 71 % of the prompts.",
                             evidence="coverage"),
        ),
        "changes": ("A headroom over the offline policy below +0.02 would turn it to offline.",),
        "next_step": "Train online-dpo with one seed (160 s), and compare it with dpo.",
        "more_pairs": None,
        "predictions": {"best-of-n": searching(), "online-dpo": prediction()},
        "lead": "online-dpo",
        "roads": roads(),
        "curves": (curve("verifier"), curve("generator")),
        "ratio": mean(4.6, 1.3, prompts=None),
        "capacities": tuple(
            diagnoses.Capacity(learner=learner, capacity=capacity, count=1480,
                               nll=mean(bits(learner, 3000) + more),
                               accuracy=mean(0.68 - more / 2))
            for capacity, more in (("head", 0.12), ("rank 4", 0.06), ("rank 16", 0.02), ("full", 0))
            for learner in ("verifier", "generator")
            if (learner, capacity) != ("generator", "head")
        ),
        "code": code(),
        "headroom": headroom(),
        "coverage": diagnoses.Coverage(
            chosen=mean(-0.94, 0.04, seeds=1),
            own=mean(-0.71, 0.03, seeds=1),
            typical=mean(0.31, 0.03, seeds=1),
            found=tuple((k, mean(1 - 0.93**k, 0.03, seeds=1)) for k in (1, 2, 4, 8, 16, 32, 64)),
        ),
        "noise": diagnoses.Noise(
            agreement=mean(0.86, 0.03, seeds=1, prompts=212),
            repeats=212,
            ceiling=mean(0.924, 0.02, seeds=1, prompts=212),
            at_least=mean(0.68, 0.02),
            shortcuts={"length": mean(0.53, 0.03, seeds=1), "words": mean(0.57, 0.03, seeds=1)},
        ),
        "horizon": diagnoses.Horizon(
            tokens=mean(7.4, 0.2, seeds=1),
            finished=mean(0.99, 0.006, seeds=1),
            entropy=mean(0.62, 0.03, seeds=1),
            decided=tuple((part, mean(value, 0.03, seeds=1)) for part, value in
                          ((0.25, 0.14), (0.5, 0.37), (0.75, 0.66), (1.0, 1.0))),
        ),
        "missing": (),
        "cost": cost(3000, 1.1e12, 74.0, 210_000),
        "start_cost": cost(0, 8.0e11, 31.0),
    }  # fmt: skip
    return Diagnosis.model_validate(fields | changes)


def nothing_learned() -> Diagnosis:
    """Both learners stay at a coin; the difference of their codes is small and means nothing."""
    coin = mean(1.0, 0.004)
    flat = tuple(
        one.model_copy(
            update={
                "points": tuple(
                    p.model_copy(update={"nll": coin, "accuracy": mean(0.5, 0.02)})
                    for p in one.points
                ),
                "limit": coin,
                "learned": False,
            }
        )
        for one in (curve("verifier"), curve("generator"))
    )
    return diagnosis(
        advice="collect",
        headline="Collect about 6 000 more pairs first: neither learner has learned anything yet",
        reasons=(diagnoses.Reason(words="Both learners stay at 1 bit a pair.", evidence="curves"),),
        changes=("A code shorter than a bit a pair, at any number of pairs.",),
        next_step="Label 6 000 more pairs, or look for what is wrong with these.",
        more_pairs=6000,
        capacities=(),
        predictions={},
        lead="",
        unpredicted="neither learner has learned these labels",
        roads=roads(None),
        curves=flat,
        ratio=None,
        code=code().model_copy(update={
            "verifier": mean(3001, 4, prompts=None), "generator": mean(3003, 4, prompts=None),
            "difference": mean(2, 6, prompts=None), "misfit": mean(0, 6, prompts=None),
            "learning": mean(2, 6, prompts=None), "learned": False,
        }),
    )  # fmt: skip


def no_offline() -> Diagnosis:
    """The budget did not reach the offline policy."""
    return diagnosis(
        headroom=without_offline(),
        missing=("The offline policy was not trained: the budget of 2 min did not reach it.",),
    )


def untrusted() -> Diagnosis:
    """The independent grader is no better than a coin."""
    return diagnosis(
        advice="cannot tell",
        headline="Cannot tell: needs a grader that beats a coin",
        headroom=headroom(
            grader="independent", trusted=False, grader_accuracy=mean(0.52, 0.05), bends=None
        ),
        predictions={"online-dpo": prediction(
            gain=0.03, low=-0.09, high=0.15, positive=0.66,
            features=(feature("cost of learning", 0.075, 0.4),), widened=("No headroom.",),
        )},
        reasons=(diagnoses.Reason(words="The grader is right on 52 % of held-out labels.",
                                  evidence="headroom"),),
        changes=("A verifying program, or a grader that beats a coin.",),
        next_step="Bring a verifying program with --verifier.",
        roads=(
            roads()[0],
            roads()[1].model_copy(update={"gain": None, "low": None, "high": None}),
            roads()[2].model_copy(update={"gain": 0.03, "low": -0.09, "high": 0.15}),
        ),
    )  # fmt: skip


def real() -> Diagnosis:
    """Real conversations: a weak independent grader, no repeats, no other capacities."""
    return diagnosis(
        data="hh-rlhf, helpful: 3 000 pairs",
        model="SmolLM2-135M-Instruct",
        headroom=headroom(grader="independent", grader_accuracy=mean(0.63, 0.04)),
        noise=diagnoses.Noise(agreement=None, repeats=0, ceiling=None, at_least=mean(0.61, 0.02),
                              shortcuts={"length": mean(0.58, 0.03, seeds=1)}),
        capacities=(),
        ratio=None,
        horizon=diagnosis().horizon.model_copy(update={"decided": ()}),
        missing=("No true reward: an independent reward model grades instead.",
                 "No two answers were compared twice: the noise ceiling is only bounded."),
    )  # fmt: skip


def bare() -> Diagnosis:
    """One order, and nothing that may be absent."""
    one = curve("verifier", None)
    first = one.points[0].model_copy(update={"nll": mean(0.9, None, seeds=1)})
    return diagnosis(
        advice="cannot tell",
        headline="Cannot tell",
        reasons=(),
        changes=(),
        predictions={"online-dpo": prediction(features=(), widened=())},
        roads=(),
        curves=(one.model_copy(update={"points": (first,), "learned": True}),),
        ratio=None,
        capacities=(),
        code=code().model_copy(update={"by_block": ()}),
        headroom=None,
        coverage=diagnosis().coverage.model_copy(update={"found": ()}),
        noise=diagnoses.Noise(agreement=None, repeats=0, ceiling=None, shortcuts={},
                              at_least=mean(0.6, None, seeds=1)),
        horizon=diagnosis().horizon.model_copy(update={"decided": ()}),
        cost=Cost(),
        start_cost=Cost(),
    )  # fmt: skip


def hostile() -> Diagnosis:
    """Every text is markup and far too long; numbers are missing."""
    text = HOSTILE * 3
    bad = Mean(value=float("nan"), low=float("-inf"), high=float("inf"), seeds=3)
    whole = diagnosis()
    first = feature(text, 0.1, 0.2, meaning=text)
    row = whole.roads[2].model_copy(update={"road": text})
    points = tuple(p.model_copy(update={"proxy": bad, "over_offline": bad})
                   for p in headroom().points)  # fmt: skip
    return diagnosis(
        **dict.fromkeys(("created", "version", "revision", "command", "data", "model"), text),
        headline=text,
        reasons=(diagnoses.Reason(words=text, evidence=text),),
        changes=(text,),
        next_step=text,
        predictions={text: prediction(features=(first,), model=text, widened=(text,))},
        lead=text,
        roads=(whole.roads[0], row, row.model_copy(update={"gain": float("nan")})),
        ratio=bad,
        capacities=(whole.capacities[0].model_copy(update={"capacity": text}),
                    whole.capacities[1].model_copy(update={"nll": bad})),
        headroom=headroom(points=points, offline=bad, offline_kl=bad),
        noise=whole.noise.model_copy(update={"ceiling": bad, "shortcuts": {text: mean(0.6)}}),
        missing=(text,),
    )  # fmt: skip
