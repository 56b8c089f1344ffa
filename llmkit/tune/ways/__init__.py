"""Ways to classify: one a file, all behind `llmkit.tune.ways.way.Way`, all judged on the same held-out rows."""
