"""Texts: templates with typed slots, and patterns that no text of them may contain."""
