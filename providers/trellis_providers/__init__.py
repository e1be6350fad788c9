"""The providers that come with Trellis, one folder each."""
