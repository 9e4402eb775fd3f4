"""From what was measured before reinforcement learning to what it says: pure functions."""
