"""A world of one's own: pay an amount in coins. Verifying adds up; generating has to find coins.

Prompt: three digits, an amount from 001 to 999. Completion: coins. The true reward is 1 for exactly
the amount, the share that was paid for less, and 0 for more.
"""

COINS = (500, 200, 100, 50, 20, 10, 5, 2, 1)
VOCABULARY = [*"0123456789", *(f"{coin}c" for coin in COINS)]
MAX_NEW_TOKENS = 16
HASTE = 0.15
"""Chance that the demonstrator takes any coin instead of the largest that fits."""


def prompts():
    """Every amount."""
    return [" ".join(f"{amount:03d}") for amount in range(1, 1000)]


def demonstrate(prompt, rng):
    """Largest coins first, by somebody in a hurry."""
    left, coins = int(prompt.replace(" ", "")), []
    while left > 0 and len(coins) < MAX_NEW_TOKENS - 1:
        coin = next(coin for coin in COINS if coin <= left)
        if rng.random() < HASTE:
            coin = COINS[rng.integers(len(COINS))]
        coins.append(coin)
        left -= coin
    return " ".join(f"{coin}c" for coin in coins)


def verify(prompts, completions):
    """How well each amount was paid, 0 to 1."""
    return [
        paid(int(p.replace(" ", "")), c.split()) for p, c in zip(prompts, completions, strict=True)
    ]


def paid(amount, words):
    """Digits are no coins."""
    if not all(word.endswith("c") for word in words):
        return 0.0
    total = sum(int(word[:-1]) for word in words)
    return total / amount if total <= amount else 0.0
