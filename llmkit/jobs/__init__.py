"""Background jobs: work that belongs to the app, not to the tab."""
