"""The demonstration: a business to govern, and the story that is told over it."""
