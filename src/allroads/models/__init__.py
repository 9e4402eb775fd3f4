"""The only owners of weights: policies, reward models, and how they read completions."""
