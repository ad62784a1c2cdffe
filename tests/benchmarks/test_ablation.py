"""Parts of `benchmarks/ablation.py`: arms, state of jobs, figures, comparisons, the plain script's reward."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from trl_mle.errors import ConfigError, UserError
from trl_mle.tasks import load_task
from trl_mle.types import Grade, Outcome, Program

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def parts():
    """The modules of the benchmark by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        names = ("arms", "jobs", "clock", "compare", "table", "progress", "samples", "plain", "prepare", "picture")
        yield SimpleNamespace(**{name: importlib.import_module(f"ablations.{name}") for name in names})
    finally:
        sys.path.remove(str(FOLDER))


def job_of(parts, runs, arm="parts", task="builtin:computers", seed=0, budget=None):
    study = parts.arms.read_study()
    budget = budget or parts.jobs.Budget("programs", 64, 16)
    return parts.jobs.Job(study, runs, study.arms[arm], task, seed, budget)


def run_of(arm, seed, score, task="builtin:computers", budget="programs", **training):
    figures = {"score": score, "valid share": 0.5, "slow share": None}
    return {
        "arm": arm,
        "task": task,
        "seed": seed,
        "budget": budget,
        "tasks": {task: figures},
        "held out": {},
        "training": training,
    }


class TestArms:
    def test_an_arm_differs_from_its_base_in_its_own_flags(self, parts):
        arms = parts.arms.read_study().arms
        changed = {
            name
            for name in arms["everything"].flags
            if arms["everything"].flags[name] != arms["paper"].flags.get(name)
        }
        assert changed == {"reward_aggregation"}
        assert arms["lossy_inverse"].kind == "grpo"

    def test_comparisons_change_one_flag(self, parts):
        arms = parts.arms.read_study().arms
        one_apart = {"milestones", "durations", "durations_inverse", "improve", "overlap", "lossy_durations"}
        one_apart |= {"parts", "parts_durations", "parts_improve", "rank", "rank_durations", "rank_improve"}
        for name in one_apart:
            ours, theirs = arms[name].flags, arms[arms[name].against].flags
            assert sum(ours.get(key) != theirs.get(key) for key in {*ours, *theirs}) == 1, name

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"label": "x", "flag": {}}, "unknown keys"),
            ({"label": "x", "base": "nothing"}, "above it"),
            ({"label": "x", "kind": "magic"}, "magic"),
            ({"label": "x", "against": "nothing"}, "no arm"),
            ({"label": "x", "kind": "refit"}, "source"),
        ],
    )
    def test_a_wrong_arm_is_named(self, parts, tmp_path, entry, message):
        content = yaml.safe_load(parts.arms.FILE.read_text())
        path = tmp_path / "arms.yaml"
        path.write_text(yaml.safe_dump({**content, "arms": {"mine": entry}}))
        with pytest.raises(ConfigError, match=message):
            parts.arms.read_study(path)

    @pytest.mark.slow
    def test_every_arm_is_understood(self, parts, tmp_path):
        from trl_mle.scripts.grpo import parse
        from trl_mle.scripts.sft import parse as parse_sft

        model = tmp_path / "model"
        model.mkdir()
        for name in ("config.json", "model.safetensors"):
            (model / name).write_text("{}")
        for arm in parts.arms.read_study().arms.values():
            job = job_of(parts, tmp_path, arm.name)
            if arm.kind not in ("grpo", "refit"):
                continue
            settings = yaml.safe_load(job._settings_file().read_text())
            settings |= {"model_name_or_path": str(model)}
            path = tmp_path / "settings.yaml"
            path.write_text(yaml.safe_dump(settings))
            if arm.kind == "refit":
                parse_sft(["--config", str(path)])
                continue
            _, training, _, _ = parse(["--config", str(path)])
            assert training.duration_weighting == settings["duration_weighting"]
            assert training.duration_clip == settings["duration_clip"]


class TestJobs:
    def test_a_budget_is_a_number_of_programs(self, parts, tmp_path):
        budget = parts.jobs.Budget("programs", 1536, 64)
        assert job_of(parts, tmp_path, "parts", budget=budget).updates == 48
        assert job_of(parts, tmp_path, "agent", budget=budget).updates == 32

    def test_time_counts_without_a_cache(self, parts, tmp_path):
        clock = parts.jobs.Budget("clock", 600, 64)
        for arm in ("parts", "plain"):
            command = job_of(parts, tmp_path, arm, budget=clock)._training()
            assert "--cache" not in command
            assert command[command.index("--seconds") + 1] == "600"
            assert "--cache" in job_of(parts, tmp_path, arm)._training()

    def test_seeds_come_first_and_arms_that_lose_programs_only_with_the_clock(self, parts, tmp_path):
        study = parts.arms.read_study()
        arms = ("refit", "parts", "lossy", "agent")
        tasks = ["builtin:computers", "builtin:segment"]
        for kind, amount in (("programs", 64), ("clock", 60)):
            jobs = list(
                parts.jobs.jobs_of(study, tmp_path, arms, tasks, (0, 1), parts.jobs.Budget(kind, amount, 8), 2)
            )
            assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
            assert any(job.arm.name == "lossy" for job in jobs) == (kind == "clock")
            assert {job.task for job in jobs if job.arm.name == "agent"} == {"builtin:computers"}
            assert len({job.name for job in jobs}) == len(jobs)

    def test_a_failure_leaves_the_run_open(self, parts, tmp_path, monkeypatch):
        job, commands = job_of(parts, tmp_path), []

        def launch(self, command):
            commands.append(command[1])
            return command[1] != "ablations.final"

        monkeypatch.setattr(parts.jobs.Job, "_launch", launch)
        assert "evaluation failed" in job.run()
        assert not job.is_done
        job.run()
        assert commands == ["ablations.train", "ablations.final", "ablations.final"], "training is not repeated"

    def test_a_refit_learns_from_the_run_of_its_source(self, parts, tmp_path):
        settings = yaml.safe_load(job_of(parts, tmp_path, "idea_chain")._settings_file().read_text())
        assert settings["demonstrations"] == str(job_of(parts, tmp_path, "everything").folder / "experience.sqlite")
        assert settings["chain_discount"] == 0.5


class TestClock:
    def test_seconds_add_up_and_what_is_done_again_counts_once(self, parts, tmp_path):
        (tmp_path / "clock.jsonl").write_text(
            '{"step": 1, "seconds": 10}\n{"step": 2, "seconds": 20}\n{"step": 3, "se'
        )
        assert parts.clock.read_clock(tmp_path) == [(1, 10.0), (2, 20.0)]
        clock = parts.clock.Clock(tmp_path, limit_s=10.0)
        control = SimpleNamespace(should_training_stop=False)
        clock.on_train_begin(None, SimpleNamespace(global_step=1), control)
        clock.on_step_end(None, SimpleNamespace(global_step=2), control)
        (_, first), (step, second) = parts.clock.read_clock(tmp_path)
        assert (first, step) == (10.0, 2)
        assert 10.0 <= second < 20.0
        assert control.should_training_stop


class TestPlain:
    def test_a_program_is_scored_and_a_failure_is_not(self, parts, tmp_path):
        task = load_task("builtin:computers")
        text = (
            "```python\nimport csv\nrows = list(csv.reader(open('input/sample_submission.csv')))\n"
            "with open('submission.csv', 'w', newline='') as f: csv.writer(f).writerows(rows)\n```"
        )
        score = parts.plain.Score({"t": task}, tmp_path, 20.0, -10.0, {})
        texts = [text, "no program", "```python\nraise SystemExit(1)\n```"]
        completions = [[{"role": "assistant", "content": each}] for each in texts]
        rewards = score(completions, ["t"] * 3, SimpleNamespace(global_step=0))
        assert rewards[1:] == [-10.0, -10.0]
        assert -1.0 <= rewards[0] <= 1.0
        rows = parts.progress.rollouts_of(tmp_path)
        assert list(rows["kind"]) == ["valid", "failure", "failure"]
        score.run = None  # a known program is not run again
        assert score.score(text, "t")["mle_reward"] == rewards[0]
        parts.plain.drop_after(tmp_path / parts.plain.ROLLOUTS, 0)
        assert not (tmp_path / parts.plain.ROLLOUTS).read_text()

    def test_a_time_out_ends_the_program(self, parts, tmp_path):
        score = parts.plain.Score({}, tmp_path, 0.2, -10.0)
        task = load_task("builtin:computers")
        assert score.run("while True: pass", task)["kind"] == "timeout"


class TestFigures:
    def outcome(self, private, public, code="Ridge()"):
        kind = "failure" if private is None else "valid"
        grades = (None, None) if private is None else (Grade(public, True), Grade(private, True))
        return Outcome(
            task_id="builtin:computers",
            kind=kind,
            reward=0.0,
            duration_s=1.0,
            program=Program("", code),
            public=grades[0],
            private=grades[1],
        )

    def test_the_public_score_chooses_and_the_private_one_tells(self, parts):
        scale = parts.samples.Scale(load_task("builtin:computers"), baseline=400.0, reference=200.0)  # lower is better
        outcomes = [self.outcome(300.0, 100.0), self.outcome(200.0, 150.0, "GridSearchCV()"), self.outcome(None, None)]
        found = parts.samples.sample_figures([*outcomes, self.outcome(900.0, 900.0)], scale, several=4)
        assert found["score"] == pytest.approx((0.5 + 1.0 + 0.0 + 0.0) / 4)
        assert found["best program"] == 0.5
        assert found["valid share"] == 0.75
        assert found["slow share"] == pytest.approx(1 / 3, abs=1e-4)
        assert found["score of the best of 16"] is None, "there are four samples"

    def test_time_to_90_percent(self, parts):
        rising = pd.Series([*np.linspace(-10, 0, 20), *([0.0] * 20)])
        assert 17 <= parts.progress.step_of_90(rising) <= 21
        assert parts.progress.step_of_90(-rising) is None
        assert parts.progress.step_of_90(rising[:3]) is None

    def test_a_training_is_read_back(self, parts, tmp_path):
        rows = [
            {"step": step, "kind": "valid" if number else "failure", "mle_reward": step, "reward_score": step / 10}
            | {"program": "Stacking" if step > 5 else "Ridge", "task_id": "t"}
            for step in range(6 + 6)
            for number in range(2)
        ]
        (tmp_path / parts.plain.ROLLOUTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "clock.jsonl").write_text(
            "".join(json.dumps({"step": step + 1, "seconds": 2.0 * (step + 1)}) + "\n" for step in range(12))
        )
        found = parts.progress.training_figures(tmp_path)
        assert (found["updates"], found["programs"], found["programs per second"]) == (12, 24, 1.0)
        assert found["samples to the first valid program"] == 2
        assert found["slow share by sixths"] == [0, 0, 0, 1, 1, 1]
        assert found["seconds to 90 % of the final reward"] == found["programs to 90 % of the final reward"]
        assert parts.progress.best_program(tmp_path, "t") == "Stacking"
        assert parts.progress.best_program(tmp_path, "other") is None

    def test_public_and_private_scores_of_the_end(self, parts, tmp_path):
        task = load_task("builtin:computers")
        rows = [
            {"kind": "valid", "task_id": task.id, "public_score": 150.0 if at >= 80 else 300.0, "private_score": 300.0}
            for at in range(100)
        ]
        path = tmp_path / parts.plain.ROLLOUTS
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = parts.progress.learned_scores(tmp_path, task)
        assert found["private at the end"] < found["public at the end"] <= 1
        path.write_text("".join(json.dumps(row | {"private_score": None}) + "\n" for row in rows))
        assert parts.progress.learned_scores(tmp_path, task) == {}
        assert parts.progress.learned_scores(tmp_path / "none", task) == {}


class TestComparison:
    def test_pairs_share_task_and_seed(self, parts):
        ours = {("t", seed): run_of("parts", seed, 0.2 + 0.1 * seed) for seed in range(4)}
        theirs = {("t", seed): run_of("plain", seed, 0.1 + 0.1 * seed) for seed in range(1, 6)}
        found = parts.compare.difference(ours, theirs, "score")
        assert found["pairs"] == 3
        assert found["difference"] == pytest.approx(0.1)
        assert found["low"] == pytest.approx(0.1)
        assert found["high"] == pytest.approx(0.1)
        assert found["relative"] == pytest.approx(0.4 / 0.3 - 1, abs=1e-3)
        assert found["relative low"] < found["relative"] < found["relative high"]

    def test_tasks_weigh_alike_and_few_seeds_have_no_interval(self, parts):
        ours = {("a", seed): run_of("x", seed, 1.0, "a") for seed in range(4)} | {("b", 0): run_of("x", 0, 0.0, "b")}
        theirs = {key: run_of("plain", key[1], 0.0, key[0]) for key in ours}
        found = parts.compare.difference(ours, theirs, "score")
        assert found["difference"] == 0.5
        assert found["low"] is None
        assert found["relative"] is None

    @pytest.mark.parametrize("seeds", [3, 5])
    def test_of_few_seeds_the_interval_is_by_students_t(self, parts, seeds):
        """A bootstrap of three seeds covers the truth in about three of four cases, one of five in 84 %."""
        random, covered = np.random.default_rng(0), 0
        for _ in range(200):
            ours = {
                (task, seed): run_of("x", seed, float(random.normal(5.3, 0.1)), task)
                for seed in range(seeds)
                for task in "ab"
            }
            theirs = {key: run_of("plain", key[1], 5.0, key[0]) for key in ours}
            found = parts.compare.difference(ours, theirs, "score")
            covered += found["low"] <= 0.3 <= found["high"]
            assert found["relative low"] < found["relative"] < found["relative high"]
        assert 180 <= covered <= 199

    def test_all_pairs_count_where_tasks_have_different_numbers_of_seeds(self, parts):
        scores = {"a": [0.5, 0.6, 0.7, 0.9, 0.4], "b": [0.3, 0.2, 0.4]}
        ours = {
            (task, seed): run_of("x", seed, score, task) for task in scores for seed, score in enumerate(scores[task])
        }
        theirs = {key: run_of("plain", key[1], 0.1, key[0]) for key in ours}
        found = parts.compare.difference(ours, theirs, "score")
        assert found["pairs"] == 8
        assert found["difference"] == pytest.approx((0.62 + 0.3) / 2 - 0.1)
        assert (found["low"] + found["high"]) / 2 == pytest.approx(found["difference"], abs=1e-4)
        assert found["low"] > 0.2

    def test_an_interval_covers_the_truth_about_as_often_as_it_says(self, parts):
        random, covered = np.random.default_rng(0), 0
        parts.compare.RESAMPLES, before = 200, parts.compare.RESAMPLES
        try:
            for _ in range(60):
                data = [np.stack([random.normal(0.3, 1, 12), np.zeros(12)], axis=1) for _ in range(3)]
                low, high = parts.compare.bootstrap(data, parts.compare._mean_difference)
                covered += low <= 0.3 <= high
        finally:
            parts.compare.RESAMPLES = before
        assert 49 <= covered <= 60

    def test_speed_counts_where_every_program_runs(self, parts):
        values = [
            parts.compare.value_of(
                run_of("plain", 0, 0.5, budget=budget, **{"programs per second": 2.0}), "programs per second"
            )
            for budget in ("clock", "programs")
        ]
        assert values == [2.0, None]

    def test_results_become_tables_and_a_picture(self, parts, tmp_path):
        study = parts.arms.read_study()
        sixths = {"slow share by sixths": [0.1, 0.2, None, 0.3, 0.4, 0.5], "programs per second": 2.0}
        runs = [run_of(arm, seed, 0.3 + 0.1 * (arm != "plain") + 0.01 * seed, **sixths)
                for arm in ("plain", "sandbox", "milestones", "durations") for seed in range(3)]  # fmt: skip
        runs += [
            run_of(arm, seed, score, "other") for arm, score in (("plain", 0.1), ("durations", 0.8)) for seed in (0, 1)
        ]
        for run in runs[-2:]:
            run["tasks"]["other"] |= {"public at the end": 0.9, "private at the end": 0.2}
        results = {"programs": parts.compare.summarise(runs, study, "programs")}
        text = parts.table.markdown({"results": results, "command": "c", "machine": "m", "runs": len(runs)})
        assert "| `milestones` | `plain` | 3 | +0.100 (+0.100 to +0.100)" in text
        assert "Not all arms have the same tasks" in text
        assert "| name | `builtin:computers` | `other` |" in text
        assert "| `durations` | 0.410 (3) | 0.800 (2) |" in text
        assert "| `sandbox` | 0.410 (3) | - |" in text
        assert "| `durations` | - | 0.900, 0.200 |" in text
        assert "| `durations` | `plain` | +0.100 (+0.100 to +0.100) | +0.700 |" in text
        assert "| instrumentation | +22 % (22.06 % worse without) | +0%" in text
        assert "not run" in text
        for block in text.split("\n\n"):
            assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1
        page = tmp_path / "page.md"
        page.write_text(f"before\n{parts.table.BEGIN}\nearlier\n{parts.table.END}\nafter\n")
        parts.table.insert(page, text)
        assert "earlier" not in page.read_text()
        assert page.read_text().endswith("after\n")
        parts.picture.draw(results, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_the_short_table_has_plain_and_everything_at_equal_wall_clock(parts):
    study = parts.arms.read_study()
    runs = [run_of(arm, seed, score + 0.01 * seed, budget="clock", **{"programs per second": speed})
            for arm, score, speed in (("plain", 0.2, 0.5), ("everything", 0.5, 5.0)) for seed in range(3)]  # fmt: skip
    text = parts.table.headline({"results": {"clock": parts.compare.summarise(runs, study, "clock")}})
    assert "| `builtin:computers` | trl_mle, everything | 0.510 | - | 0.500 | 5 |" in text
    assert "score +0.300 (+0.300 to +0.300)" in text and "10.0 times the programs per second" in text
    assert parts.table.headline({"results": {}}) is None
    apart = [run for run in runs if (run["arm"] == "plain") == (run["seed"] < 2)]
    assert parts.table.headline({"results": {"clock": parts.compare.summarise(apart, study, "clock")}}) is None
    alone = parts.compare.summarise([run for run in runs if run["arm"] == "plain"], study, "clock")
    assert parts.table.headline({"results": {"clock": alone}}) is None


def test_a_published_result_is_extended(parts, tmp_path, monkeypatch, capsys):
    """Its runs stay in the table and are not planned again. Without the flag, the result is made anew."""
    ablation = importlib.import_module("ablation")

    def call(*flags):
        places = ["--runs", str(tmp_path), "--out", str(tmp_path / "out.json"), "--page", str(tmp_path / "page.md")]
        places += ["--readme", str(tmp_path / "page.md")]
        command = [
            "ablation.py",
            *places,
            "--arm",
            "plain",
            "parts",
            "--task",
            "builtin:computers",
            "--seed",
            "0",
            "1",
        ]
        monkeypatch.setattr(sys, "argv", [*command, *flags])
        assert ablation.main() == 0
        return capsys.readouterr().out

    (tmp_path / "page.md").write_text(f"{parts.table.BEGIN}\n{parts.table.END}\n")
    published = [run_of(arm, 0, 0.3) | {"amount": 1536} for arm in ("plain", "parts")]
    (tmp_path / "out.json").write_text(json.dumps({"figures": published}))
    folder = tmp_path / "programs-1536/builtin-computers/plain-1"
    folder.mkdir(parents=True)
    (folder / "figures.json").write_text(json.dumps(run_of("plain", 1, 0.5) | {"amount": 1536}))

    assert "1 of 2 runs are done" in call("--plan", "--extend")
    assert "1 of 4 runs are done" in call("--plan")
    with pytest.raises(UserError, match="Give `--programs 1536`"):
        call("--plan", "--extend", "--programs", "64")
    call("--report", "--extend")
    runs = json.loads((tmp_path / "out.json").read_text())["figures"]
    assert sorted((run["arm"], run["seed"]) for run in runs) == [("parts", 0), ("plain", 0), ("plain", 1)]
    call("--report")
    assert len(json.loads((tmp_path / "out.json").read_text())["figures"]) == 1


def test_the_page_has_a_place_for_the_tables(parts):
    text = (FOLDER.parent / "docs/ablation.md").read_text(encoding="utf-8")
    assert text.index(parts.table.BEGIN) < text.index(parts.table.END)


def test_generated_tasks_are_the_first_of_their_kind(parts, tmp_path):
    rows = "r,w,regression,0\na,x,regression,1\nb,x,binary,1\nc,y,regression,1\nd,z,multiclass,1\n"
    (tmp_path / "tasks.csv").write_text("task,table,kind,kept\n" + rows)
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "held_out.txt").write_text("d\n")
    assert parts.prepare.choose_tasks(tmp_path) == {"binary": "b", "regression": "c", "held-out": "d"}
    (tmp_path / "held_out.txt").write_text("")
    with pytest.raises(ConfigError, match="held-out"):
        parts.prepare.choose_tasks(tmp_path)
