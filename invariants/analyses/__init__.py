"""Questions that a reviewer asks of a bundle, each answered over every request, with a question that shows it."""
