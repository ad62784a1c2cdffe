"""Parts of a trainer are asked in their order, and their state survives in a checkpoint."""

import torch

from trl_mle.training.parts import TrainerPart, TrainerParts


class Adding(TrainerPart):
    def __init__(self, number):
        self.number, self.seen = number, []

    def before_generation(self, rows):
        return [{**row, "numbers": [*row.get("numbers", []), self.number]} for row in rows]

    def after_scoring(self, output, mode):
        return {**output, "advantages": output["advantages"] * 10 + self.number}

    def observe(self, columns, mode):
        self.seen.append((dict(columns), mode))

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]


def parts(**added):
    result = TrainerParts(process_index=0)
    for name, part in added.items():
        result.add(name, part)
    return result


def test_parts_work_in_the_order_in_which_they_were_added():
    both = parts(first=Adding(1), second=Adding(2))
    assert both.before_generation([{"prompt": "p"}]) == [{"prompt": "p", "numbers": [1, 2]}]
    assert both.after_scoring({"advantages": torch.zeros(1)}, "train")["advantages"].tolist() == [12.0]


def test_every_part_sees_what_is_kept():
    part = Adding(1)
    parts(part=part).observe({"step": [3]}, "eval")
    assert part.seen == [({"step": [3]}, "eval")]


def test_state_is_read_back_by_name(tmp_path):
    parts(a=Adding(1), b=Adding(2)).save(tmp_path / "checkpoint-1")
    a, b, new = Adding(0), Adding(0), Adding(7)
    parts(b=b, a=a, new=new).resume(tmp_path / "checkpoint-1")
    assert (a.number, b.number, new.number) == (1, 2, 7)


def test_a_checkpoint_of_a_trainer_without_parts_is_no_error(tmp_path):
    parts(a=TrainerPart()).save(tmp_path)
    assert not list(tmp_path.iterdir())
    part = Adding(5)
    parts(a=part).resume(tmp_path)
    assert part.number == 5


def test_a_process_that_is_new_reads_the_state_of_the_first_one(tmp_path):
    parts(a=Adding(3)).save(tmp_path)
    second, part = TrainerParts(process_index=1), Adding(0)
    second.add("a", part)
    second.resume(tmp_path)
    assert part.number == 3
