"""Parts of `benchmarks/ablation.py`: arms, jobs, training with a clock, a plain GRPO script, figures, comparisons, pictures."""
