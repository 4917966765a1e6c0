"""The ways in: HTTP routes that turn bytes into calls and answers into bytes."""
