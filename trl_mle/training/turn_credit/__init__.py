"""Credit per turn: each action of a completion has an advantage of its own, from what was earned after it."""
