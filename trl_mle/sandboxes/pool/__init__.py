"""The parts of `SandboxPool`: who is next, what is counted, what is shown."""
