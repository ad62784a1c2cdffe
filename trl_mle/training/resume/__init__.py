"""What a checkpoint holds beside TRL's files, so that a resumed run is the uninterrupted one. See `docs/resume.md`."""
