"""How many preference pairs each road needs: regret on finite trees, exactly enumerated.

The paper argues that a simple reward asks for less data than the policy that is optimal for it.
This room measures it. `settings` says what varies, `world` draws it, `learners` are the roads,
`cell` runs one, `curves` turns regrets into numbers of pairs, `verdicts` holds the rules that were
written before the run. docs/regret.md tells what came out.
"""
