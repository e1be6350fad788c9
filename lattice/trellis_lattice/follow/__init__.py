"""What hosts tell to whoever asks: recent log records and events, and, while somebody follows, new ones and calls.

Nothing of it is sent while nobody asks; no collector is needed (docs/protocol.md, "Logs, events and calls").
"""
