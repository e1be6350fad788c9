"""The `trellis` command, and the composition root that builds hosts."""
