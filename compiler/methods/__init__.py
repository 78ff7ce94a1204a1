"""The compile-time halves of the search methods: how each relaxes a kind of choice."""
