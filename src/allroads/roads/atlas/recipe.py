"""Schedules and sizes that all roads share."""

from __future__ import annotations

from allroads.roads.choices import Choice, Schedule, Score


class Recipe(Choice):
    """Schedules and sizes that all roads share.

    Rounds belong to the online stages only; for the rest one round holds all the data.
    """

    sft: Schedule = Schedule(epochs=8)
    reward: Schedule = Schedule(epochs=4)
    policy: Schedule = Schedule(epochs=2)
    online: Schedule = Schedule(rounds=100)
    """Fully on-policy stages: `rounds` updates of `batch_size` fresh prompts."""
    reading: Score = "head-sum"
    """Where the global reward model's head reads."""
    batch_samples: int = 8
    """Samples per prompt of the paper's one-batch online DPO (the paper draws 25)."""
    group: int = 4
    """Completions per prompt of group losses."""
    reuse: int = 4
    """Epochs over each round of samples, for losses made for that (PPO, REBEL)."""
    iterations: int = 3
    """SPIN's rounds: the opponent is the policy at the start of each."""

    def at_rate(self, factor: float) -> Recipe:
        """With other learning rates of the stages that make a policy from preferences or samples.

        Likelihood and reward models, which roads share, keep theirs.
        """
        changes = {
            name: schedule.model_copy(update={"learning_rate": schedule.learning_rate * factor})
            for name, schedule in (("policy", self.policy), ("online", self.online))
        }
        return self.model_copy(update=changes)
