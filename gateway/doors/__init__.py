"""The doors: HTTP in, HTTP out. Nothing behind them knows what a status line is."""
