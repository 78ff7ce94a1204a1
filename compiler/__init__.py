"""From a checked search space to its dataflow graph and the code written from it."""
