"""Alert rules, from a definition to the alert in an inbox.

- `conditions`: what a rule can ask about a symbol. `messages`: its text.
- `rules`: the definition, checked. `rule_problems`: all that is wrong with one. `rule_editing`:
  rules in the database. `rights`: what they may read.
- `evaluator`: all rules on one symbol, as a state machine. `rule_state`: one rule in it.
- `watches`: the numbers of a symbol. `levels`: which conditions a new number touches.
- `engine`: follows the streams, evaluates, stores and sends. `engines`: the engines that are alive.
- `followed_symbol`: one symbol as an engine follows it. `waiting`: updates that it has yet to take.
- `rule_index`: the rules that an engine knows. `progress`: what it reads and commits in the
  database.
- `firing`: from a rule that fires to its alert. `quota`: how many a user has in a minute.
- `inbox`: alerts until they are acknowledged. `sending`: stored alerts onto their streams.
- `preview`: what an alert would say. `dry_run`: how often a rule would have fired. `trial`: the
  process that computes it.
"""
