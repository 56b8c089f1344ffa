"""A learner's table: kept, worked on by a fixed set of operations, and one column of it read by a box, cell by cell."""
