"""Collapse of a policy: noticed by entropy, distinct completions and reward; training stops or goes back if asked to."""
