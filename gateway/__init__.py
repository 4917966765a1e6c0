"""The one path that a call takes, its doors and its storage."""
