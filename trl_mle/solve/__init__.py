"""A policy put to use: sample, improve and keep the best program for one task, within a budget of time."""

from trl_mle.solve.budget import parse_budget
from trl_mle.solve.problem import Problem, is_kaggle_folder, open_problem
from trl_mle.solve.search import SearchSettings
from trl_mle.solve.session import Progress, Solution, solve

__all__ = [
    "Problem",
    "Progress",
    "SearchSettings",
    "Solution",
    "is_kaggle_folder",
    "open_problem",
    "parse_budget",
    "solve",
]
