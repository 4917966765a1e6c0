"""The revisions, in order; each correct while the release before it is still running."""
