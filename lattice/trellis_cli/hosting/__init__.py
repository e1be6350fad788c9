"""One host as a process: what `trellis host run` is around the host itself."""
