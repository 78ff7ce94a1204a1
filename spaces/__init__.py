"""Search spaces shipped with nasc."""
