"""The parts of `RaySandbox`: the cluster, what runs on its nodes, and how a task's public files get there."""
