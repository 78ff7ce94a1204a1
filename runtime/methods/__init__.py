"""The run-time halves of the search methods: schedule and decisions."""
