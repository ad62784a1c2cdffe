"""Tasks in the formats of other projects."""
