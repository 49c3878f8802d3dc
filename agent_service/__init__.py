"""Runs Claude Code sessions for the bridge, over signed HTTP. Its door is `contract`."""
